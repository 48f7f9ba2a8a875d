"""The displays of progress are told what goes on; they keep one line for each activity."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from pinnace.cli.console import print_json
from pinnace.cli.progress import bars, steps
from pinnace.models.progress import Event, Progress, Stage

Display = Callable[[bool | None], AbstractContextManager[Progress]]


def test_an_activity_that_comes_further_keeps_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    with steps(True) as show:
        show(Event(Stage.LOAD))
        for image in range(1, 25):
            show(Event(Stage.CALIBRATE, done=image, total=24))
        show(Event(Stage.WRITE, "onnx-int8"))
        show(Event(Stage.WRITE, "onnx-int8sym"))
    shown = capsys.readouterr().err.splitlines()[-4:]
    assert [re.sub(r"^\W+|\s+\d:\d\d:\d\d$", "", line) for line in shown] == [
        "loading the model",
        "calibrating with images, 24 of 24",
        "writing onnx-int8",
        "writing onnx-int8sym",
    ]


@pytest.mark.parametrize("display", [steps, bars])
def test_nothing_is_shown_off_a_terminal_unless_asked(
    display: Display, capsys: pytest.CaptureFixture[str]
) -> None:
    with display(None) as show:
        show(Event(Stage.EVALUATE, done=1, total=2))
    assert capsys.readouterr() == ("", "")


def test_bars_stand_inside_one_another_and_go_when_they_are_done(capsys: pytest.CaptureFixture[str]) -> None:
    with bars(True) as show:
        show(Event(Stage.BUILD, done=0, total=2, detail="outer"))
        show(Event(Stage.BUILD, done=0, total=2, detail="inner"))
        show(Event(Stage.BUILD, done=2, total=2, detail="inner"))
        show(Event(Stage.BUILD, done=1, total=2, detail="outer"))
    shown = capsys.readouterr().err.splitlines()[-1]
    assert "building (outer)" in shown
    assert "inner" not in shown


def test_json_is_fit_for_a_terminal_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\x1b[31m \x7f \x9b31m \u2028 \u202e \u2066 \U000e0001 émeu 猫 \n"
    print_json({text: text})
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable()
    assert "émeu 猫" in printed
    assert json.loads(printed) == {text: text}
