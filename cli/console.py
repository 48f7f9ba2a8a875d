"""What the command line prints: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, TextIO

from pinnace.models.errors import PinnaceError
from pinnace.models.printable import printable

if TYPE_CHECKING:
    from rich.console import Console


# A pipe or a file has no width of its own; tables must not be cut there.
_WIDTH_OFF_TERMINAL = 160


def out() -> Console:
    """The console for data."""
    return _console(sys.stdout)


def err() -> Console:
    """The console for everything else."""
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    from rich.console import Console

    width = None if file.isatty() else _WIDTH_OFF_TERMINAL
    return Console(file=file, highlight=False, width=width)


def plain(text: str) -> str:
    """Text from outside, such as a label or a path, for a console: without markup and control characters.

    Every command passes through this what it did not write itself.
    """
    from rich.markup import escape

    return escape(printable(text))


def print_json(value: Any) -> None:
    """Print dataclasses, dicts and lists as indented JSON on standard output."""
    from pydantic import TypeAdapter

    text = json.dumps(TypeAdapter(Any).dump_python(value, mode="json"), indent=2, ensure_ascii=False)
    # json leaves DEL, the C1 controls, some of which begin an escape of a terminal, and marks that turn the
    # direction of the text as they are.
    print(text if text.isascii() else "".join(map(_shown, text)))


def _shown(char: str) -> str:
    return char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1]


def print_error(error: PinnaceError) -> None:
    """Print an error on standard error: its sentence, what was expected and got, what to do."""
    first, *rest = str(error).splitlines()
    err().print(f"[bold red]error:[/] {plain(first)}", soft_wrap=True)
    for line in rest:
        err().print(plain(line), soft_wrap=True)


def print_note(sentence: str) -> None:
    """Print what the user should know on standard error."""
    err().print(f"[yellow]note:[/] {plain(sentence)}", soft_wrap=True)


@contextmanager
def only_data() -> Iterator[None]:
    """Send what a model's own code prints to standard error, which keeps standard output for data."""
    with redirect_stdout(sys.stderr):
        yield
