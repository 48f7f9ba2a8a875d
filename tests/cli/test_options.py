"""The fields of a dataclass as the options of a verb."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer.testing import CliRunner

from pinnace.cli.commands.export import ExportOptions, folder_and_output
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


def test_an_output_of_export_is_a_head_unless_it_is_a_path(tmp_path: Path) -> None:
    def parts(*names: str, folder: Path | None = None) -> tuple[str, str | None]:
        found, output = folder_and_output(ExportOptions("file:net.onnx", folder=folder, output=list(names)))
        return str(found), output

    # What a message asks for is done whether the folder was named or not.
    assert parts("colour") == ("net.bundle", "colour")
    assert parts("colour", folder=Path("x")) == ("x", "colour")
    assert parts("out.bundle") == ("out.bundle", None)
    assert parts("./out", "colour") == ("out", "colour")
    assert parts(str(tmp_path)) == (str(tmp_path), None)
