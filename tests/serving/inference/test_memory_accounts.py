"""The memory of pictures and bodies is counted until it is free."""

from __future__ import annotations

import threading

import pytest

from pinnace.models.errors import ImageTooLarge
from pinnace.serving.errors import Overloaded
from pinnace.serving.inference.executor import Executor
from pinnace.serving.inference.layout import Layout
from pinnace.serving.settings import ServerSettings


@pytest.fixture
def executor() -> Executor:
    layout = Layout(workers=1, concurrency=1, threads=1, share=1)
    return Executor(ServerSettings(max_buffered_bytes=1000, max_decoded_bytes=100), layout)


def test_pictures_have_a_budget(executor: Executor) -> None:
    admission = executor.admission
    with admission.decoding() as first, admission.decoding() as second:
        first(60)
        with pytest.raises(Overloaded, match="other images fill the memory"):
            second(50)
        second(40)
        with pytest.raises(ImageTooLarge, match="takes 101 bytes"):
            second(101)
    with admission.decoding() as third:
        third(100)
    executor.close()


def test_the_body_of_a_client_that_went_away_counts_until_its_work_is_done(executor: Executor) -> None:
    admission, begun, go_on = executor.admission, threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(20)

    with admission.reserved_memory() as hold:
        hold(700)
        admission.enter(2)
        in_work = executor.submit(work)
        assert begun.wait(20)
        waiting = executor.submit(work)
    assert admission.bytes == 700
    assert waiting.cancel()
    assert admission.bytes == 700
    with admission.reserved_memory() as hold, pytest.raises(Overloaded):
        hold(400)
    go_on.set()
    in_work.result(20)
    executor.close()
    assert admission.bytes == 0


def test_a_body_that_waits_is_free_once_nobody_wants_it(executor: Executor) -> None:
    admission, begun, go_on = executor.admission, threading.Event(), threading.Event()
    admission.enter(2)
    executor.submit(lambda: (begun.set(), go_on.wait(20)))
    assert begun.wait(20)
    with admission.reserved_memory() as hold:
        hold(700)
        waiting = executor.submit(lambda: None)
    assert admission.bytes == 700
    assert waiting.cancel()
    assert admission.bytes == 0
    go_on.set()
    executor.close()
