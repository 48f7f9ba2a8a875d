"""What the command line prints: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pinnace.models.errors import PinnaceError

_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


def out() -> Console:
    """The console for data."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def err() -> Console:
    """The console for everything else."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print dataclasses, dicts and lists as indented JSON on standard output."""
    print(json.dumps(_ANYTHING.dump_python(value, mode="json"), indent=2, ensure_ascii=False))


def print_error(error: PinnaceError) -> None:
    """Print an error on standard error: its sentence, what was expected and got, what to do."""
    first, *rest = escape(str(error)).splitlines()
    err().print(f"[bold red]error:[/] {first}")
    for line in rest:
        err().print(line)


@contextmanager
def steps(show: bool | None) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows which step runs, with the time it has taken.

    Args:
        show: whether to show anything; None means on a terminal only.
    """
    console = err()
    if not (console.is_terminal if show is None else show):
        yield lambda text: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=console.is_terminal) as progress:
        task: list[Any] = []

        def step(text: str) -> None:
            for earlier in task:
                progress.stop_task(earlier)
            task[:] = [progress.add_task(escape(text), total=None)]

        yield step
