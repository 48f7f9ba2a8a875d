"""Calls that wait are done by one thread: prepared one after the other, and run at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from functools import partial

import numpy as np
import pytest

from pinnace.serving.inference.batcher import Array, Input
from pinnace.serving.inference.calls import CallGroup, Outcome, Steps, images_together, measured
from pinnace.serving.inference.executor import Executor
from pinnace.serving.inference.layout import Layout
from pinnace.serving.inference.scheduler import Scheduler
from pinnace.serving.settings import ServerSettings

Asked = Callable[[int], "Future[float]"]


class Model:
    """Doubles numbers; 13 is too much for it, and the first call waits until it is told."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: set[str] = set()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, batch: Input) -> Array:
        self.sizes.append(len(batch))
        self.threads.add(threading.current_thread().name)
        self.begun.set()
        assert self.go_on.wait(20)
        if 13 in batch:
            raise ValueError("thirteen")
        return 2 * batch.astype(np.float32)


@pytest.fixture
def executor() -> Iterator[Executor]:
    executor = Executor(ServerSettings(), Layout(workers=1, concurrency=2, threads=1, share=4))
    executor.scheduler.share_cpus_with(Busy())
    yield executor
    executor.close()


class Busy:
    """Neighbours that need all of their CPUs."""

    def set_images(self, count: int) -> None:
        """Nobody is to be told."""

    def images_of_peers(self) -> int:
        return 4


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def asked(executor: Executor, model: Model) -> Asked:
    group = CallGroup(model, 4)

    def steps(number: int) -> Steps[float]:
        if number == 7:
            raise ValueError("seven")
        row, _ = yield np.array([[number]])
        if number == 8:
            raise ValueError("eight")
        return float(row[0])

    def ask(number: int) -> Future[float]:
        executor.admission.enter()
        with executor.admission.reserved_memory() as hold:
            hold(10)
            return executor.submit_grouped(partial(steps, number), group)

    return ask


def test_what_waits_is_run_at_once_in_one_thread(asked: Asked, model: Model) -> None:
    futures = [asked(0)]
    assert model.begun.wait(20)
    futures += [asked(number) for number in range(20, 27)]
    model.go_on.set()
    assert [future.result(20) for future in futures] == [0, *range(40, 54, 2)]
    assert model.sizes == [1, 4, 2, 1]  # powers of two
    assert model.threads == {"pinnace-infer_0"}


def test_a_batch_of_one_is_run_by_itself_though_several_are_taken(executor: Executor, model: Model) -> None:
    group = CallGroup(model, 1, lambda: 4)
    order, waited = [], {}

    def steps(number: int) -> Steps[float]:
        order.append(("prepared", number))
        row, waited[number] = yield np.array([[number]])
        order.append(("answered", number))
        return float(row[0])

    def ask(number: int) -> Future[float]:
        executor.admission.enter()
        return executor.submit_grouped(partial(steps, number), group)

    futures = [ask(0)]
    assert model.begun.wait(20)
    futures += [ask(number) for number in (1, 2, 3)]
    model.go_on.set()
    assert [future.result(20) for future in futures] == [0, 2, 4, 6]
    assert model.sizes == [1, 1, 1, 1]
    assert order[2:] == [(step, number) for step in ("prepared", "answered") for number in (1, 2, 3)]
    assert min(waited[number] for number in (1, 2, 3)) > 0
    assert waited[0] < waited[1]  # the first was alone, and its model waited


def test_what_waits_is_shared_out_among_threads() -> None:
    scheduler: Scheduler[int] = Scheduler(2)
    first = scheduler.items()
    for number in range(7):
        scheduler.put(number)
    assert next(first) == 0
    assert scheduler.more(lambda _: True, 9, 2) == [1, 2, 3]
    assert scheduler.more(lambda _: True, 1, 2) == [4]
    assert scheduler.more(lambda number: number < 6, 9) == [5]


def test_more_are_taken_together_the_less_an_image_takes() -> None:
    assert [images_together(seconds) for seconds in (0, 0.001, 0.01, 0.015, 0.03, 1)] == [1, 4, 4, 2, 1, 1]


def test_seconds_of_an_image_are_its_own() -> None:
    told: list[float] = []

    def steps() -> Steps[int]:
        yield np.array([[1]])
        return 5

    timed = measured(steps(), told.append)
    next(timed)
    with pytest.raises(StopIteration) as end:
        timed.send(Outcome(np.zeros(1, np.float32), waited=100))
    assert end.value.value == 5
    assert -100 < told[0] < -99


def test_who_fails_fails_alone(asked: Asked, model: Model, executor: Executor) -> None:
    first = asked(0)
    assert model.begun.wait(20)
    before, within, after, cancelled, fine = [asked(number) for number in (7, 13, 8, 5, 6)]
    assert cancelled.cancel()
    model.go_on.set()
    assert (first.result(20), fine.result(20)) == (0, 12)
    for future, message in ((before, "seven"), (within, "thirteen"), (after, "eight")):
        with pytest.raises(ValueError, match=message):
            future.result(20)
    with pytest.raises(CancelledError):
        cancelled.result(20)
    executor.close()
    assert executor.admission.images == 0
    assert executor.admission.bytes == 0


def test_another_group_waits_for_its_own_turn(asked: Asked, model: Model, executor: Executor) -> None:
    first = asked(0)
    assert model.begun.wait(20)
    other = CallGroup(model, 4)

    def steps() -> Steps[str]:
        yield np.array([[1]])
        return "other"

    executor.admission.enter()
    futures = [asked(1), asked(2), executor.submit_grouped(steps, other), asked(3)]
    model.go_on.set()
    assert [future.result(20) for future in [first, *futures]] == [0, 2, 4, "other", 6]
    assert model.sizes == [1, 2, 1, 1]
