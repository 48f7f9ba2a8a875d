"""The parent of the workers: starts them, starts others in the place of those that die, and ends them all.

The parent imports what the workers need, once, and they are forked from it: they begin with those modules in
memory, which all of them share until one writes to it. The parent opens no model and loads no runtime, and
has no threads but those that wait for a connection or a clock, so that nothing is copied halfway. Where a
fork is not safe, as on macOS, whose own libraries start threads, a worker is a new interpreter.
`docs/adr/0009-forked-workers.md` has the measurements.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from types import FrameType

from pinnace.serving.workers.start_report import StartReport, read_report

logger = logging.getLogger("pinnace.serving")

Work = Callable[[int, Connection], None]

# Within which a worker whose grace is over writes its last answers and ends.
_ENDING_SECONDS = 1.0

# Between a worker that has died before it was ready, and the next one in its place.
_PAUSE_SECONDS = 1.0

# So many may die while the server starts before it gives up.
_MOST_EARLY_DEATHS = 5

_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_OURS = (*_STOP, signal.SIGHUP)


@dataclass
class WorkerProcess:
    """A worker process.

    Attributes:
        number: from 1; the one that takes its place has the same.
        process: the process.
        connection: what it reports on; None once it has reported.
        ready: it answers.
    """

    number: int
    process: BaseProcess
    connection: Connection | None
    ready: bool = False


class Supervisor:
    """Keeps a number of workers running until it is told to stop."""

    def __init__(
        self,
        work: Work,
        workers: int,
        grace: float,
        *,
        on_ready: Callable[[tuple[str, ...]], None],
        on_reload: Callable[[], None],
    ) -> None:
        """Start nothing yet.

        Args:
            work: what a worker does, with its number and the connection on which it reports; where workers
                are not forked it is pickled.
            workers: how many.
            grace: seconds that they have to end by themselves, once they are told to stop.
            on_ready: called once all of them answer, with what the first of them reported.
            on_reload: called for SIGHUP.
        """
        self._work = work
        self._count = workers
        self._grace = grace
        self._on_ready = on_ready
        self._on_reload = on_reload
        self._context: ForkContext | SpawnContext
        self._context = get_context("fork") if sys.platform == "linux" else get_context("spawn")
        self._workers: dict[int, WorkerProcess] = {}
        self._due: dict[int, float] = {}  # numbers of workers to start, and when
        self._sentences: tuple[str, ...] | None = None
        self._early_deaths = 0
        self._started = False
        self._stop = False
        self._reload = False

    def run(self) -> None:
        """Run until SIGTERM or SIGINT, then end the workers.

        Raises:
            PinnaceError: a worker cannot serve, as the first to find out has reported.
            RuntimeError: the workers end while they start, for a reason that is none of those.
        """
        gc.collect()
        gc.freeze()  # the collector of a worker would write to what it shares with the others
        with self._signals() as wakeup:
            self._due = dict.fromkeys(range(1, self._count + 1), 0.0)
            try:
                while not self._stop:
                    self._start_due()
                    self._wait(wakeup)
                    if self._reload:
                        self._reload = False
                        self._on_reload()
            finally:
                self._end_workers()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[Connection]:
        """Note signals, and make what is yielded readable, so that who waits for it wakes up."""
        reader, writer = self._context.Pipe(duplex=False)
        os.set_blocking(writer.fileno(), False)
        handlers = {sign: signal.signal(sign, self._note) for sign in _OURS}
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(before)
            for sign, handler in handlers.items():
                signal.signal(sign, handler)
            reader.close()
            writer.close()

    def _note(self, sign: int, frame: FrameType | None) -> None:
        if sign == signal.SIGHUP:
            self._reload = True
        else:
            self._stop = True

    def _start_due(self) -> None:
        now = time.monotonic()
        for number in [number for number, due in self._due.items() if due <= now]:
            del self._due[number]
            self._start(number)

    def _start(self, number: int) -> None:
        reader, writer = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_begin, args=(self._work, number, writer), name=f"pinnace-worker-{number}"
        )
        # A signal in between would be noted in the worker, by what is the parent's there.
        signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
        writer.close()
        self._workers[number] = WorkerProcess(number, process, reader)

    def _wait(self, wakeup: Connection) -> None:
        """Wait until something happens, and see to it."""
        starting = {each.connection: each for each in self._workers.values() if each.connection is not None}
        running = {each.process.sentinel: each for each in self._workers.values()}
        pause = min(self._due.values(), default=None)
        timeout = None if pause is None else max(0.0, pause - time.monotonic())
        happened = wait([wakeup, *starting, *running], timeout)
        if wakeup in happened:
            os.read(wakeup.fileno(), 4096)
        for connection, worker in starting.items():
            if connection in happened:
                self._take_report(worker, read_report(connection))
        for sentinel, worker in running.items():
            if sentinel in happened:
                self._take_death(worker)

    def _take_report(self, worker: WorkerProcess, report: StartReport | None) -> None:
        assert worker.connection is not None
        worker.connection.close()
        worker.connection = None
        if report is None:  # it has died
            return
        if report.error is not None:
            if not self._started:
                raise report.error
            logger.error("a worker cannot start: %s", report.error)
            return
        worker.ready = True
        if self._sentences is None:
            self._sentences = report.sentences
        if not self._started and sum(each.ready for each in self._workers.values()) == self._count:
            self._started = True
            self._on_ready(self._sentences)

    def _take_death(self, worker: WorkerProcess) -> None:
        worker.process.join()
        code = worker.process.exitcode
        if worker.connection is not None:
            worker.connection.close()
        del self._workers[worker.number]
        if self._stop:
            return
        if not self._started and not worker.ready:
            self._early_deaths += 1
            if self._early_deaths == _MOST_EARLY_DEATHS:
                raise RuntimeError(f"workers end before they are ready, the last one {_manner(code)}")
        logger.warning("worker %d has ended %s; another takes its place", worker.number, _manner(code))
        self._due[worker.number] = time.monotonic() + (0.0 if worker.ready else _PAUSE_SECONDS)

    def _end_workers(self) -> None:
        """Tell all to end, and kill those that have not when their grace is over."""
        deadline = time.monotonic() + self._grace + _ENDING_SECONDS
        for worker in self._workers.values():
            worker.process.terminate()
        for worker in self._workers.values():
            worker.process.join(max(0.0, deadline - time.monotonic()))
        for worker in self._workers.values():
            if worker.process.is_alive():
                worker.process.kill()
            worker.process.join()


def _begin(work: Work, number: int, connection: Connection) -> None:
    """In the worker: leave the parent's terminal and its signals, and begin to work."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for sign in _OURS:
        signal.signal(sign, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
    work(number, connection)


def _manner(code: int | None) -> str:
    return f"by signal {-code}" if code is not None and code < 0 else f"with status {code}"
