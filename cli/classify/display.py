"""Answers, progress and a summary on the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from pinnace.cli.classify.job import Tally
from pinnace.cli.console import err, out, plain
from pinnace.cli.tables import Column, print_table
from pinnace.models.answer import Answer
from pinnace.models.errors import PinnaceError

_BAR = 24
_NARROW = 80
_LABELS = 10


def print_answer(image: str, answer: Answer) -> None:
    """Print an answer on standard output: who answered, and the classes as bars.

    Where several labels may be true, those that are have a mark.
    """
    console = out()
    console.print(
        f"[bold]{plain(image)}[/]  {plain(answer.model)} {plain(answer.variant)} in "
        f"{plain(answer.runtime)}, "
        f"{answer.timing_ms.total:.1f} ms"
    )
    width = _bar_width(console)
    rows = [
        (
            f"{prediction.probability:7.2%}",
            _bar(prediction.probability, width),
            plain(prediction.label),
            f"[dim]{prediction.index}[/]",
            "true" if prediction.above_threshold and answer.threshold is not None else "",
        )
        for prediction in answer.predictions
    ]
    print_table(console, (Column(), Column(), Column(wraps=True), Column(), Column()), rows)
    if answer.threshold is not None:
        found = ", ".join(map(plain, answer.labels)) or "no label"
        console.print(f"{found}: {answer.threshold:g} or more", soft_wrap=True)


def print_failure(console: Console, image: str, error: PinnaceError) -> None:
    """Print the error of one image among many, in one line."""
    console.print(f"[bold red]error:[/] {plain(image)}: {plain(error.message)}", soft_wrap=True)


def print_ignored(count: int) -> None:
    """Print on standard error how many files in the folders are skipped."""
    if count:
        err().print(f"files skipped, because they are hidden or not named like an image: {count:,}")


def print_summary(tally: Tally, seconds: float, word: str) -> None:
    """Print on standard error how many images had which label, and how fast it went.

    Args:
        tally: what has become of the images.
        seconds: how long it took.
        word: what those are that have an answer, such as `classified`.
    """
    console = err()
    counts = [f"{tally.answered:,} {word}"]
    if tally.failed:
        counts.append(f"{tally.failed:,} cannot be read")
    if tally.unanswered:
        counts.append(f"{tally.unanswered:,} without an answer")
    if tally.earlier:
        counts.append(f"{tally.earlier:,} of them by an earlier run")
    rate = f"{tally.attempted / seconds:,.1f} images/s" if tally.attempted else "nothing to do"
    console.print(f"[bold]{'; '.join(counts)}[/]; {rate}, {seconds:.1f} s")
    if not tally.labels:
        return
    width = _bar_width(console)
    rows = [
        (
            f"{count:7,}",
            f"{count / tally.answered:6.1%}",
            _bar(count / tally.answered, width),
            plain(label),
        )
        for label, count in tally.labels.most_common(_LABELS)
    ]
    print_table(console, (Column(), Column(), Column(), Column(wraps=True)), rows)
    if len(tally.labels) > _LABELS:
        console.print(f"        and {len(tally.labels) - _LABELS:,} more labels")


def _bar_width(console: Console) -> int:
    return _BAR if console.width >= _NARROW else _BAR // 2


def _bar(share: float, width: int) -> str:
    return f"[cyan]{'█' * round(width * min(max(share, 0), 1)):<{width}}[/]"


@dataclass
class Bar:
    """A progress bar, or nothing.

    Attributes:
        console: for messages above the bar.
        progress: what is drawn, or None.
    """

    console: Console
    progress: Progress | None = None

    def advance(self, images: int = 1) -> None:
        """So many images are done."""
        if self.progress is not None:
            self.progress.advance(self.progress.task_ids[0], images)


@contextmanager
def progress_bar(show: bool | None, *, total: int, done: int) -> Iterator[Bar]:
    """Draw on standard error how many images are done, how fast, and how long the rest will take.

    Args:
        show: whether to draw anything; None means on a terminal only.
        total: images in all.
        done: those that an earlier run has done.
    """
    console = err()
    if not (console.file.isatty() if show is None else show):
        yield Bar(console)
        return
    columns: list[ProgressColumn] = [
        BarColumn(bar_width=None, finished_style="bar.complete"),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        _Rate(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    ]
    progress = Progress(*columns, console=console, transient=True, expand=console.width < _NARROW)
    progress.add_task("", total=total, completed=done)
    with progress:
        yield Bar(console, progress)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f}/s")


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.perf_counter() - self._started
