"""The fields of a dataclass as the options of a verb."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from pinnace.cli.options import Json, command

SEEN: list[object] = []


@dataclass(frozen=True)
class CookOptions:
    """What the command line says."""

    dish: Annotated[str, typer.Argument(help="What to cook.")]
    salt: Annotated[list[str] | None, typer.Option(help="Which salts.")] = None
    minutes: Annotated[int, typer.Option("--minutes", "-m", help="How long.")] = 5


@command
def cook(options: CookOptions, json: Json = False) -> None:
    """Cook."""
    SEEN[:] = [options, json]


def run(*words: str) -> int:
    app = typer.Typer()
    app.command()(cook)
    return CliRunner().invoke(app, words).exit_code


def test_fields_are_filled_from_the_command_line() -> None:
    assert run("soup") == 0
    assert [CookOptions("soup"), False] == SEEN
    assert run("soup", "--salt", "sea", "--salt", "rock", "-m", "7", "--json") == 0
    assert [CookOptions("soup", ["sea", "rock"], 7), True] == SEEN


def test_what_a_field_requires_is_required() -> None:
    assert run() == 2
    assert run("soup", "-m", "long") == 2
