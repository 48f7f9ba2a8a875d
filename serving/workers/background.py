"""What takes long, in a thread that nobody has to wait for: a server that stops does not."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function returns, or raises, called in a thread of its own.

    An executor's threads are waited for when the process ends, for as long as a store may stay silent.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(setter: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(lambda: None if future.done() else setter())

    def work() -> None:
        try:
            result = act(*args, **kwargs)
        except BaseException as error:
            raised = error
            tell(lambda: future.set_exception(raised))
        else:
            tell(lambda: future.set_result(result))

    threading.Thread(target=work, daemon=True, name="background").start()
    return await future
