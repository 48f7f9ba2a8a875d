"""How far something is, shown on standard error while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Column

from pinnace.cli.console import err, plain
from pinnace.models.progress import Event, Progress, ignore


def description() -> TextColumn:
    """What a bar is about; it goes on in the next line where it has no room."""
    return TextColumn("{task.description}", table_column=Column(overflow="fold"))


def _bar_width(console: Console) -> int:
    return min(40, console.width // 5)


@contextmanager
def _shown(show: bool | None, *columns: ProgressColumn) -> Iterator[Bars | None]:
    """Bars on standard error, None where nothing is to be shown: by default, where it is no terminal."""
    console = err()
    if not (console.is_terminal if show is None else show):
        yield None
        return
    with Bars(*columns, console=console, transient=console.is_terminal) as progress:
        yield progress


@contextmanager
def bars(show: bool | None) -> Iterator[Progress]:
    """Show activities that run inside one another, each as a bar that disappears when it is done.

    Args:
        show: whether to show anything; None means on a terminal only.
    """
    console = err()
    with _shown(show, description(), BarColumn(_bar_width(console)), TimeElapsedColumn()) as progress:
        if progress is None:
            yield ignore
            return
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
    with _shown(show, SpinnerColumn(), description(), TimeElapsedColumn()) as progress:
        if progress is None:
            yield ignore
            return
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
