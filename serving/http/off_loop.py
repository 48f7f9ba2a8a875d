"""Work that grows with the body of a request is done on a thread, so that others are answered meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread
from typing_extensions import TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Less is done sooner than a thread takes it over.
_SMALL_BYTES = 16_384


async def off_loop(size: int, work: Callable[[Unpack[Ts]], T], *args: Unpack[Ts]) -> T:
    """`work(*args)`, on a thread where there is much of it.

    Args:
        size: bytes that the work goes through.
        work: may raise.
        args: what it is given.
    """
    if size <= _SMALL_BYTES:
        return work(*args)
    return await anyio.to_thread.run_sync(work, *args)
