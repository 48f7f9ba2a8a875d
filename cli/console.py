"""What the command line prints: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Column

from pinnace.models.errors import PinnaceError
from pinnace.models.printable import printable
from pinnace.models.progress import Event, Progress, ignore

_CONTROLS = re.compile(r"[\x7f-\x9f\u2028\u2029]")
_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


# A pipe or a file has no width of its own; tables must not be cut there.
_WIDTH_OFF_TERMINAL = 160


def out() -> Console:
    """The console for data."""
    return _console(sys.stdout)


def err() -> Console:
    """The console for everything else."""
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    width = None if file.isatty() else _WIDTH_OFF_TERMINAL
    return Console(file=file, highlight=False, width=width)


def plain(text: str) -> str:
    """Text from outside, such as a label or a path, for a console: without markup and control characters.

    Every command passes through this what it did not write itself.
    """
    return escape(printable(text))


def print_json(value: Any) -> None:
    """Print dataclasses, dicts and lists as indented JSON on standard output."""
    text = json.dumps(_ANYTHING.dump_python(value, mode="json"), indent=2, ensure_ascii=False)
    # json leaves DEL and the C1 controls as they are, and some of those begin an escape of a terminal.
    print(_CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


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


def description() -> TextColumn:
    """What a bar is about; it goes on in the next line where it has no room."""
    return TextColumn("{task.description}", table_column=Column(overflow="fold"))


def _bar_width(console: Console) -> int:
    return min(40, console.width // 5)


@contextmanager
def bars(show: bool | None) -> Iterator[Progress]:
    """Show activities that run inside one another, each as a bar that disappears when it is done.

    Args:
        show: whether to show anything; None means on a terminal only.
    """
    console = err()
    if not (console.is_terminal if show is None else show):
        yield ignore
        return
    columns = (description(), BarColumn(_bar_width(console)), TimeElapsedColumn())
    with Bars(*columns, console=console, transient=console.is_terminal) as progress:
        tasks: dict[Event, TaskID] = {}

        def show_event(event: Event) -> None:
            activity = event.activity
            if event.done >= event.total:
                if activity in tasks:
                    progress.remove_task(tasks.pop(activity))
                return
            if activity not in tasks:
                tasks[activity] = progress.add_task(plain(str(activity)), total=event.total)
            progress.update(tasks[activity], completed=event.done, total=event.total)

        yield show_event


@contextmanager
def steps(show: bool | None) -> Iterator[Progress]:
    """Show one activity after the other, with the time that each has taken.

    Args:
        show: whether to show anything; None means on a terminal only.
    """
    console = err()
    if not (console.is_terminal if show is None else show):
        yield ignore
        return
    columns = (SpinnerColumn(), description(), TimeElapsedColumn())
    with Bars(*columns, console=console, transient=console.is_terminal) as progress:
        last: tuple[TaskID, Event] | None = None

        def show_event(event: Event) -> None:
            nonlocal last
            if last is not None and last[1] == event.activity:
                progress.update(last[0], description=plain(str(event)))
                return
            if last is not None:
                progress.stop_task(last[0])
            last = progress.add_task(plain(str(event)), total=None), event.activity

        yield show_event
