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
        self.begun: list[int | None] = []
        self.done = threading.Semaphore(0)
        self.threads: list[threading.Thread] = []

    def start(self, count: int) -> None:
        for _ in range(count):
            thread = threading.Thread(target=self._work, daemon=True)
            thread.start()
            self.threads.append(thread)

    def _work(self) -> None:
        with self.scheduler.turn() as item:
            self.begun.append(item)
            self.done.acquire(timeout=10)

    def has(self, *items: int | None) -> bool:
        """Whether these were begun, and nothing else is within a while."""
        deadline = time.monotonic() + 5
        while len(self.begun) < len(items) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        return self.begun == list(items)


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
    workers.start(1)
    workers.done.release()
    assert workers.has(0, 1)  # one of two is still in work, which is the share
    workers.done.release()
    assert workers.has(0, 1, 2)
    workers.done.release()


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


def test_a_thread_that_waits_is_woken_when_the_last_turn_ends(
    filled: Callable[..., tuple[Scheduler[int], Workers]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinnace.serving.inference.scheduler._POLL_SECONDS", 60)
    scheduler: Scheduler[int] = Scheduler(1, 2)
    scheduler.share_cpus_with(Neighbours(needed=1))
    scheduler.put(0)
    scheduler.put(1)
    workers = Workers(scheduler)
    workers.start(1)
    assert workers.has(0)
    workers.start(1)
    assert workers.has(0)
    workers.done.release()
    assert workers.has(0, 1)
    workers.done.release()


def test_neighbours_are_told_of_what_waits_up_to_the_share() -> None:
    neighbours = Neighbours(needed=0)
    scheduler: Scheduler[int] = Scheduler(1, 3)
    scheduler.share_cpus_with(neighbours)
    for item in range(3):
        scheduler.put(item)
    assert neighbours.told == [1, 1, 1]
    with scheduler.turn(), scheduler.turn():
        assert neighbours.told[-1] == 2
    assert neighbours.told[-1] == 1  # the moment between two images is no free CPU
    with scheduler.turn():
        pass
    assert neighbours.told[-1] == 0


def test_after_the_end_nothing_begins(filled: Callable[..., tuple[Scheduler[int], Workers]]) -> None:
    scheduler, workers = filled(1, 2, Neighbours(needed=1))
    workers.start(1)
    assert workers.has(0)
    workers.start(1)
    assert workers.has(0)
    assert scheduler.close() == [1, 2, 3]
    assert workers.has(0, None)
    workers.done.release(2)
