"""The system under test: takes queries, has a subject answer them, and says when each is done."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence

from pinnace.latency.subjects.base import Subject
from pinnace.models.errors import PinnaceError

# One sample of a query: what names it, and which input it asks for.
Sample = tuple[int, int]
Done = Callable[[Sequence[int]], None]

_IDLE_S = 0.01


class SystemUnderTest:
    """Runs queries in the caller's thread, one at a time, or in as many threads as calls overlap.

    Attributes:
        failure: the first error that ends the bench; later queries are not run.
        errors: how many calls had no answer.
        calls: milliseconds of each call.
        images: how many images were answered.
    """

    def __init__(self, subject: Subject, *, images: int, size: int, threaded: bool) -> None:
        """Prepare, with a first thread where `threaded`.

        Args:
            subject: what answers.
            images: of one sample.
            size: samples of one call.
            threaded: whether queries may come while others are being answered.
        """
        self.subject = subject
        self.failure: BaseException | None = None
        self.errors = 0
        self.calls: list[float] = []
        self._images, self._size = images, size
        self._todo: queue.SimpleQueue[tuple[Sequence[Sample], Done] | None] | None = None
        self._threads: list[threading.Thread] = []
        self._pending = 0
        self.images = 0
        self._lock = threading.Lock()
        if threaded:
            self._todo = queue.SimpleQueue()
            self._add_thread()

    def issue(self, samples: Sequence[Sample], done: Done) -> None:
        """Answer these samples, now or soon, and call `done` with the names of those that are answered."""
        for start in range(0, len(samples), self._size):
            part = samples[start : start + self._size]
            if self._todo is None:
                self._answer(part, done)
                continue
            with self._lock:
                self._pending += 1
            if self._pending > len(self._threads) < self.subject.at_once:
                self._add_thread()
            self._todo.put((part, done))

    def _answer(self, samples: Sequence[Sample], done: Done) -> None:
        if self.failure is None:
            indices = [index for _, index in samples]
            if self._images > 1:
                indices = [indices[0]] * self._images
            started = time.perf_counter()
            try:
                self.subject.call(indices)
            except PinnaceError as error:
                self._note(error)
            except BaseException as error:
                self.failure = error
            else:
                taken = time.perf_counter() - started
                with self._lock:
                    self.calls.append(1000 * taken)
                    self.images += len(indices)
        elif self._todo is None:
            time.sleep(_IDLE_S)  # the load has to run out, but not at full speed; arrivals have a pace
        done([name for name, _ in samples])

    def _note(self, error: PinnaceError) -> None:
        with self._lock:
            self.errors += 1
        if self.subject.info.timed != "http":
            self.failure = error

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"bench {len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        assert self._todo is not None
        while (task := self._todo.get()) is not None:
            self._answer(*task)
            with self._lock:
                self._pending -= 1

    def close(self) -> None:
        """End the threads, and raise what failed.

        Raises:
            BaseException: `failure`.
        """
        if self._todo is not None:
            for _ in self._threads:
                self._todo.put(None)
            for thread in self._threads:
                thread.join()
        if self.failure is not None:
            raise self.failure
