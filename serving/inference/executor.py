"""The threads of one server process, with one admission control, shared by all of its models."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from pinnace.serving.inference.admission import Admission
from pinnace.serving.inference.calls import CallGroup, GroupedCall, Steps, WaitingCall
from pinnace.serving.inference.free_pages import give_back_free_pages
from pinnace.serving.inference.layout import Layout
from pinnace.serving.inference.scheduler import Scheduler
from pinnace.serving.observability.metrics import Metrics
from pinnace.serving.settings import ServerSettings

_NICER = 5

P = ParamSpec("P")
T = TypeVar("T")


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
            max_decoded_bytes=settings.max_decoded_bytes,
            on_change=metrics.in_flight if metrics is not None else None,
        )
        # A pool would make a second future.
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()
        self.scheduler: Scheduler[WaitingCall] = Scheduler(layout.share, layout.workers)

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run work that `admission` has counted, when the scheduler lets it begin, and count it out again."""
        future: Future[T] = Future()
        work = functools.partial(work, *args, **kwargs)
        return self._put(WaitingCall(future, work, self.admission.keep_reserved()), 1)

    def submit_grouped(self, steps: Callable[[], Steps[T]], group: CallGroup) -> Future[T]:
        """As `submit`, of work in steps that a thread does together with others of its group."""
        future: Future[T] = Future()
        call = GroupedCall(future, steps, self.admission.keep_reserved(), group)
        return self._put(call, max(1, self.layout.share // self.layout.calls))

    def _put(self, call: WaitingCall, weight: int) -> Future[Any]:
        # Also called where the future is cancelled before its turn.
        call.future.add_done_callback(lambda _: self.admission.leave())
        self.scheduler.put(call, weight)
        if not self._threads:
            self._start_threads()
        return call.future

    def _start_threads(self) -> None:
        with self._starting:
            for number in range(self.layout.concurrency - len(self._threads)):
                name = f"pinnace-infer_{number}"
                thread = threading.Thread(target=self._work, args=(number,), name=name, daemon=True)
                thread.start()
                self._threads.append(thread)

    def _work(self, number: int) -> None:
        _lower_priority()
        for item in self.scheduler.items(number):
            item.run(self.scheduler.more)
            del item  # what it holds is free before the next one comes
            if self.admission.large_is_done():
                give_back_free_pages()

    def close(self) -> None:
        """Finish the images in work, and cancel those that wait."""
        for job in self.scheduler.close():
            job.future.cancel()
        for thread in self._threads:
            thread.join()


def _lower_priority() -> None:
    """Lower the priority of this thread: the event loop can then refuse requests and send answers at once."""
    if sys.platform == "linux":  # where each thread has a priority of its own
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICER)
