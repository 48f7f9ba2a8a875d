"""The command line: run in the process of the tests, or as a program of its own."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pinnace.cli import main

PINNACE = [sys.executable, "-m", "pinnace.cli.main"]


class Outcome(NamedTuple):
    """What one run of the command line did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class CommandLine:
    """Calling it runs the command line in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Outcome:
        self._capsys.readouterr()
        status = main.run([str(argument) for argument in arguments])
        captured = self._capsys.readouterr()
        return Outcome(status, captured.out, captured.err)


def run_here(*arguments: object, folder: Path) -> Outcome:
    """Run the command line in this process, in a folder; for fixtures that live longer than `capsys`."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.chdir(folder)
        status = main.run([str(argument) for argument in arguments])
    return Outcome(status, out.getvalue(), err.getvalue())
