"""The threads of one server process, and who is let in to them: one of each for all of its models."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from pinnace.serving.admission import Admission
from pinnace.serving.metrics import Metrics
from pinnace.serving.settings import Settings

_NICER = 5

P = ParamSpec("P")
T = TypeVar("T")


class Slots:
    """A bounded number of threads that all models share; others wait in order, if there is room."""

    def __init__(self, settings: Settings, concurrency: int, metrics: Metrics | None = None) -> None:
        """Start no thread yet.

        Args:
            settings: limits.
            concurrency: images in work at once.
            metrics: where images are counted, if they are.
        """
        self.metrics = metrics
        if metrics is not None:
            metrics.start(concurrency)
        self.admission = Admission(
            slots=concurrency,
            queue=settings.queue,
            timeout=settings.timeout,
            max_bytes=settings.max_buffered_bytes,
            on_change=metrics.in_flight if metrics is not None else None,
        )
        self._pool = ThreadPoolExecutor(concurrency, "pinnace-infer", initializer=_give_way)

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do work that `admission` has let in, when its turn comes; done or cancelled, it leaves."""
        future = self._pool.submit(work, *args, **kwargs)
        # Also called where the future is cancelled before its turn.
        future.add_done_callback(lambda _: self.admission.leave())
        return future

    def close(self) -> None:
        """Finish what is in work, drop what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _give_way() -> None:
    """Let the event loop go before this thread: who is refused is told at once, and an answer is sent."""
    if sys.platform == "linux":  # where each thread has a priority of its own
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICER)
