"""Several calls at once: order, bounds, errors, and an early end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pinnace.models.concurrency import map_in_order
from pinnace.models.errors import ImageError, UsageError


def ask_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("pinnace-ask")]


def test_results_come_in_order_whoever_is_first() -> None:
    def slower_first(number: int) -> int:
        time.sleep(0.02 if number % 5 == 0 else 0)
        return number * number

    assert list(map_in_order(slower_first, range(50), 4)) == [(n, n * n) for n in range(50)]
    assert ask_threads() == []


def test_as_many_at_once_as_were_asked_for() -> None:
    barrier = threading.Barrier(3, timeout=20)
    # Each call waits for two others: fewer than three at once would never end.
    assert [result for _, result in map_in_order(lambda _: barrier.wait() >= 0, range(9), 3)] == [True] * 9
    running, most, lock = [0], [0], threading.Lock()

    def count(_: int) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.002)
        with lock:
            running[0] -= 1

    list(map_in_order(count, range(30), 3))
    assert most[0] <= 3


def test_items_are_read_no_faster_than_they_are_worked_on() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            taken.append(number)
            yield number

    results = map_in_order(lambda number: number, items(), 2, ahead=10)
    for _ in range(5):
        next(results)
    assert len(taken) <= 15
    results.close()


def test_a_result_does_not_wait_for_the_ones_after_it() -> None:
    gate = threading.Event()
    results = map_in_order(lambda number: number == 0 or gate.wait(20), range(3), 1)
    assert next(results) == (0, True)
    gate.set()
    assert list(results) == [(1, True), (2, True)]


def test_our_errors_are_results_and_others_are_raised() -> None:
    def fail(number: int) -> int:
        if number == 1:
            raise ImageError("no image")
        if number == 3:
            raise ZeroDivisionError
        return number

    results = map_in_order(fail, range(5), 2)
    assert next(results) == (0, 0)
    _, error = next(results)
    assert isinstance(error, ImageError)
    assert next(results) == (2, 2)
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert ask_threads() == []


def test_an_early_end_drops_what_waits_and_leaves_what_hangs() -> None:
    gate = threading.Event()
    begun: list[int] = []

    def hang(number: int) -> int:
        begun.append(number)
        if number:
            gate.wait(30)
        return number

    results = map_in_order(hang, range(100), 2, join_timeout=0.05)
    assert next(results) == (0, 0)
    results.close()
    assert ask_threads() != []  # not waited for
    gate.set()
    for thread in ask_threads():
        thread.join(10)
    assert ask_threads() == []
    assert len(begun) <= 4


def test_without_a_limit_to_the_patience_what_is_in_work_is_finished() -> None:
    done: list[int] = []

    def slow(number: int) -> int:
        time.sleep(0.05)
        done.append(number)
        return number

    results = map_in_order(slow, range(100), 2, join_timeout=None)
    next(results)
    results.close()
    assert ask_threads() == []
    assert len(done) <= 5


def test_concurrency_must_be_one_at_least() -> None:
    with pytest.raises(UsageError, match="concurrency must be at least 1"):
        next(map_in_order(str, [1], 0))
