"""A URL under open-loop load: latency counts from when a request was due."""

from __future__ import annotations

import time

import pytest

from pinnace.latency import load_generators
from pinnace.latency.scenarios import SERVER, Plan
from pinnace.latency.statistics import percentile
from pinnace.latency.subjects.http import HttpSubject
from pinnace.latency.system_under_test import SystemUnderTest
from pinnace.models.errors import ServerError


def test_a_server_that_stalls_for_two_seconds_shows_it(stub) -> None:
    served = HttpSubject(stub.url)
    ended = time.monotonic() + 3600

    def stall(handler) -> None:
        nonlocal ended
        if ended > time.monotonic() + 60:
            ended = time.monotonic() + 2
        time.sleep(max(0, ended - time.monotonic()))
        stub.answer(handler)

    stub.plan(*[stub.answer] * 20, *[stall] * 40)
    system = SystemUnderTest(served, images=1, size=1, threaded=True)
    samples = load_generators.load_generator().run(
        Plan(SERVER, 3.0, 10, 1, served.library, 0.002, rate=40.0), system
    )
    system.close()
    served.close()
    assert system.errors == 0
    assert percentile(sorted(samples.latency_ms), 99) > 1800
    # A client that waited for each answer would have seen one slow request.
    assert sum(each > 100 for each in samples.latency_ms) >= 25


def test_a_url_is_one_row_and_nothing_is_sent_again(pinnace, stub) -> None:
    done = pinnace("bench", stub.url, "--duration", "0.2", "--min-queries", "5", "--rounds", "1", "--json")
    assert done.status == 0, done.err
    (row,) = done.json["results"]
    assert (row["timed"], row["runtime"], row["device"]) == ("http", "abacus", "remote")
    assert row["stages"]["compute"] == 4


def test_answers_that_fail_are_counted(stub) -> None:
    served = HttpSubject(stub.url)
    stub.plan(stub.say(503), stub.cut, stub.answer)
    for problem in ("answered with status 503", None):
        if problem:
            with pytest.raises(ServerError, match=problem):
                served.call([0])
        else:
            served.call([0])  # a connection that the server had ended is opened once more
    served.close()


def test_nobody_there_is_a_sentence(pinnace, nobody: str) -> None:
    done = pinnace("bench", nobody)
    assert done.status == 2
    assert f"{nobody} does not answer" in done.err
