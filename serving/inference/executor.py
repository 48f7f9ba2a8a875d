"""The threads of one server process, with one admission control, shared by all of its models."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeAlias, TypeVar

from pinnace.models.tracebacks import release_frames
from pinnace.serving.inference.admission import Admission
from pinnace.serving.inference.layout import Layout
from pinnace.serving.inference.scheduler import Scheduler
from pinnace.serving.observability.metrics import Metrics
from pinnace.serving.settings import ServerSettings

_NICER = 5

P = ParamSpec("P")
T = TypeVar("T")

Job: TypeAlias = "tuple[Future[Any], Callable[[], Any]]"


class Executor:
    """A bounded number of threads that all models share; others wait in order, if there is room."""

    def __init__(self, settings: ServerSettings, layout: Layout, metrics: Metrics | None = None) -> None:
        """Start no thread yet.

        Args:
            settings: limits.
            layout: images in work at once.
            metrics: where images are counted, if they are.
        """
        self.layout = layout
        self.metrics = metrics
        if metrics is not None:
            metrics.start(layout.share)
        self.admission = Admission(
            slots=layout.share,
            queue=settings.queue,
            timeout=settings.timeout,
            max_bytes=settings.max_buffered_bytes,
            on_change=metrics.in_flight if metrics is not None else None,
        )
        self._pool = ThreadPoolExecutor(layout.concurrency, "pinnace-infer", initializer=_lower_priority)
        self.scheduler: Scheduler[Job] = Scheduler(layout.share, layout.workers)

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run work that `admission` has counted, when the scheduler lets it begin, and count it out again."""
        future: Future[T] = Future()
        # Also called where the future is cancelled before its turn.
        future.add_done_callback(lambda _: self.admission.leave())
        self.scheduler.put((future, functools.partial(work, *args, **kwargs)))
        self._pool.submit(self._next)
        return future

    def _next(self) -> None:
        with self.scheduler.turn() as item:
            if item is None:
                return
            future, work = item
            try:
                if future.set_running_or_notify_cancel():
                    future.set_result(work())
            except BaseException as error:
                release_frames(error)
                future.set_exception(error)
            finally:
                # An exception keeps this frame, as the one below which it was raised.
                del item, future, work

    def close(self) -> None:
        """Finish the images in work, and cancel those that wait."""
        for future, _ in self.scheduler.close():
            future.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _lower_priority() -> None:
    """Lower the priority of this thread: the event loop can then refuse requests and send answers at once."""
    if sys.platform == "linux":  # where each thread has a priority of its own
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICER)
