"""The command line: run in the process of the tests, or as a program of its own."""

from __future__ import annotations

import json
import sys
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
