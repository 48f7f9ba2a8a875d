"""A process begins with more than its share only while others leave theirs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from pinnace.serving.inference.scheduler import Scheduler


class Neighbours:
    """Processes of which the test says how many CPUs they need."""

    def __init__(self, needed: int) -> None:
        self.needed = needed
        self.told: list[int] = []

    def set_images(self, count: int) -> None:
        self.told.append(count)

    def images_of_peers(self) -> int:
        return self.needed


class Workers:
    """Threads that take an item each, and keep it until they are told."""

    def __init__(self, scheduler: Scheduler[int]) -> None:
        self.scheduler = scheduler
        self.begun: list[int] = []
        self.by: list[int] = []
        self.done = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)
        self.threads: list[threading.Thread] = []

    def start(self, count: int) -> None:
        for _ in range(count):
            thread = threading.Thread(target=self._work, args=(len(self.threads),), daemon=True)
            thread.start()
            self.threads.append(thread)

    def _work(self, number: int) -> None:
        for item in self.scheduler.items(number):
            self.begun.append(item)
            self.by.append(number)
            self.done.acquire(timeout=10)
        self.ended.release()

    def has(self, *items: int) -> bool:
        """Whether these were begun, and nothing else is within a while."""
        deadline = time.monotonic() + 5
        while len(self.begun) < len(items) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        return self.begun == list(items)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def filled() -> Callable[..., tuple[Scheduler[int], Workers]]:
    def fill(share: int, processes: int, neighbours: Neighbours | None) -> tuple[Scheduler[int], Workers]:
        scheduler: Scheduler[int] = Scheduler(share, processes)
        if neighbours is not None:
            scheduler.share_cpus_with(neighbours)
        for item in range(4):
            scheduler.put(item)
        workers = Workers(scheduler)
        return scheduler, workers

    return fill


def test_without_neighbours_every_thread_begins(
    filled: Callable[..., tuple[Scheduler[int], Workers]],
) -> None:
    _, workers = filled(1, 2, None)
    for count in range(1, 4):
        workers.start(1)
        assert workers.has(*range(count))
    workers.done.release(3)


def test_beside_busy_neighbours_only_the_share_is_in_work(
    filled: Callable[..., tuple[Scheduler[int], Workers]],
) -> None:
    neighbours = Neighbours(needed=1)
    _, workers = filled(1, 2, neighbours)
    workers.start(1)
    assert workers.has(0)
    workers.start(1)
    assert workers.has(0)  # the second waits
    neighbours.needed = 0
    assert workers.has(0, 1)  # and sees by itself that there is a CPU now
    neighbours.needed = 1
    workers.done.release()
    assert workers.has(0, 1)  # one of two is still in work, which is the share
    workers.done.release()
    assert workers.has(0, 1, 2)
    workers.done.release(2)


def test_idle_neighbours_lend_no_more_than_they_have(
    filled: Callable[..., tuple[Scheduler[int], Workers]],
) -> None:
    _, workers = filled(1, 2, Neighbours(needed=0))
    workers.start(1)
    assert workers.has(0)
    workers.start(1)
    assert workers.has(0, 1)
    workers.start(1)
    assert workers.has(0, 1)
    workers.done.release(3)


def test_one_thread_does_all_that_one_cpu_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second thread is not woken for what the first takes next."""
    monkeypatch.setattr("pinnace.serving.inference.scheduler._POLL_SECONDS", 60)
    scheduler: Scheduler[int] = Scheduler(1, 2)
    scheduler.share_cpus_with(Neighbours(needed=1))
    workers = Workers(scheduler)
    workers.start(3)
    wait_until(lambda: len(scheduler._idle) == 3)
    for item in range(6):
        scheduler.put(item)
        if item % 2:
            workers.done.release()
    workers.done.release(3)
    assert workers.has(*range(6))
    assert workers.by == [0] * 6
    wait_until(lambda: len(scheduler._idle) == 3)
    scheduler.put(6)
    assert workers.has(*range(7))
    assert workers.by[-1] == 0  # whose memory is in the caches


def test_what_one_thread_leaves_another_begins_once_a_neighbour_is_idle() -> None:
    neighbours = Neighbours(needed=2)
    scheduler: Scheduler[int] = Scheduler(1, 3)
    scheduler.share_cpus_with(neighbours)
    workers = Workers(scheduler)
    workers.start(3)
    wait_until(lambda: len(scheduler._idle) == 3)
    for item in range(3):
        scheduler.put(item)
    assert workers.has(0)
    neighbours.needed = 1
    assert workers.has(0, 1)
    neighbours.needed = 0
    assert workers.has(0, 1, 2)
    assert sorted(workers.by) == [0, 1, 2]
    workers.done.release(3)
    wait_until(lambda: len(scheduler._idle) == 3)
    time.sleep(0.1)
    assert scheduler._watcher is None  # nobody polls where nothing is in work


def test_everything_put_is_done_once_by_many_threads() -> None:
    """Neighbours that come and go while threads begin and end."""
    neighbours = Neighbours(needed=0)
    scheduler: Scheduler[int] = Scheduler(1, 4)
    scheduler.share_cpus_with(neighbours)
    workers = Workers(scheduler)
    workers.done.release(5000)
    workers.start(4)
    for item in range(2000):
        neighbours.needed = item % 5
        scheduler.put(item)
        if item % 50 == 0:
            time.sleep(0.001)
    wait_until(lambda: len(workers.begun) == 2000)
    assert sorted(workers.begun) == list(range(2000))
    assert max(neighbours.told) <= 4
    wait_until(lambda: neighbours.told[-1] == 0)
    assert scheduler.close() == []


def test_neighbours_are_told_of_what_waits_up_to_the_share() -> None:
    neighbours = Neighbours(needed=0)
    scheduler: Scheduler[int] = Scheduler(1, 3)
    scheduler.share_cpus_with(neighbours)
    for item in range(3):
        scheduler.put(item)
    assert neighbours.told == [1, 1, 1]
    workers = Workers(scheduler)
    workers.start(2)
    assert workers.has(0, 1)
    assert neighbours.told[-1] == 2
    neighbours.needed = 2
    workers.done.release(2)
    assert workers.has(0, 1, 2)
    assert set(neighbours.told[4:]) == {1, 2}  # the moment between two images is no free CPU
    workers.done.release()
    wait_until(lambda: neighbours.told[-1] == 0)


def test_after_the_end_nothing_begins(filled: Callable[..., tuple[Scheduler[int], Workers]]) -> None:
    scheduler, workers = filled(1, 2, Neighbours(needed=1))
    workers.start(1)
    assert workers.has(0)
    workers.start(1)
    assert workers.has(0)
    assert scheduler.close() == [1, 2, 3]
    assert workers.ended.acquire(timeout=5)
    assert workers.has(0)
    workers.done.release()
    assert workers.ended.acquire(timeout=5)
    assert workers.has(0)
