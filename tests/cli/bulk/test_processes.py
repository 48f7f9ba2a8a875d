"""Many items in processes: order, errors, a killed process, an early end, and the command that uses them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from PIL import Image

from pinnace.cli.bulk.processes import map_in_processes
from pinnace.cli.classify import backends
from pinnace.models.errors import PinnaceError

COLOURS = {"red": (250, 5, 5), "green": (5, 250, 5), "blue": (5, 5, 250)}


def halves() -> Callable[[int], float]:
    """What a worker calls: small numbers take longest, 7 is no good, and 99 ends the process."""

    def half(number: int) -> float:
        if number == 7:
            raise PinnaceError("seven is odd", hint="take eight")
        if number == 99:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05 if number < 3 else 0)
        return number / 2

    return half


def no_beginning() -> Callable[[int], float]:
    raise PinnaceError("there is nothing to begin with")


def workers() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


def test_results_come_in_order_with_errors_among_them_and_the_processes_end() -> None:
    before = {process.pid for process in workers()}
    found = list(map_in_processes(halves, range(40), 2, ahead=16))
    assert [number for number, _ in found] == list(range(40))
    error = found.pop(7)[1]
    assert isinstance(error, PinnaceError)
    assert (error.message, error.hint) == ("seven is odd", "take eight")
    assert all(result == number / 2 for number, result in found)
    left = [process.name() for process in workers() if process.pid not in before]
    assert len(left) <= 2, left  # the process that workers are forked from, and its tracker, stay


def test_what_cannot_begin_and_what_is_killed_ends_the_work_with_a_sentence() -> None:
    with pytest.raises(PinnaceError, match="there is nothing to begin with"):
        list(map_in_processes(no_beginning, range(3), 1, ahead=8))
    with pytest.raises(PinnaceError, match="a process that answers for images was killed"):
        list(map_in_processes(halves, [1, 99], 1, ahead=8))


def test_items_are_read_no_faster_than_they_are_worked_on() -> None:
    read = []

    def items():
        for number in range(10, 10_000):
            read.append(number)
            yield number

    with closing(map_in_processes(halves, items(), 1, ahead=32)) as results:
        assert next(results) == (10, 5.0)
    assert len(read) <= 40


def test_a_folder_in_processes_gives_the_rows_that_threads_give(
    pinnace, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(30):
        name = list(COLOURS)[number % 3]
        Image.new("RGB", (20, 20), COLOURS[name]).save(tmp_path / "photos" / f"{number:02}{name}.png")
    (tmp_path / "photos" / "10.jpg").write_text("no image")

    def rows(name: str) -> list[dict]:
        outcome = pinnace(
            "classify", tmp_path / "photos", "--bundle", bundle, "-o", tmp_path / name, "--concurrency", 2
        )
        assert outcome.status == 1  # for the one that is no image
        assert "30 classified; 1 cannot be read" in outcome.err
        found = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for row in found:
            row.pop("timing_ms", None)
        return found

    threads = rows("threads.jsonl")
    used = []
    monkeypatch.setattr(backends, "_WORTH_A_PROCESS", 10)
    monkeypatch.setattr(
        "pinnace.cli.bulk.processes.map_in_processes",
        lambda *given, **more: used.append(more) or map_in_processes(*given, **more),
    )
    assert rows("processes.jsonl") == threads
    assert used == [{"processes": 2, "ahead": 1024}]
