"""Thousands of images, an outcome for each, in a file or on standard output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol

from pinnace.cli.classify.display import Stopwatch, print_failure, print_summary, progress_bar
from pinnace.cli.classify.job import Backend, Tally, answer_each
from pinnace.cli.classify.row_file import RowFile
from pinnace.cli.classify.row_formats import Finished, Result, Result_contra, RowFormat
from pinnace.cli.console import err
from pinnace.models.errors import PinnaceError

Each = Callable[[Finished], None]


class Sink(Protocol[Result_contra]):
    """What takes outcomes, in order."""

    def write(self, image: str, outcome: Result_contra | PinnaceError) -> None:
        """Take what is final: an answer, or the error of an image that cannot be read."""


class Rows(Protocol[Result_contra]):
    """Where the outcomes of a run go.

    Attributes:
        output: a file, or None for standard output.
    """

    @property
    def output(self) -> Path | None:
        """The file, or None for standard output."""

    def check_name(self, image: str) -> None:
        """Refuse a name that cannot be written; see `RowFormat`."""

    def open(self, each: Each) -> AbstractContextManager[Sink[Result_contra]]:
        """Begin, or continue an earlier run; `each` is called for every row of that."""


class RowStream(Generic[Result]):
    """Rows on standard output, as they come."""

    def __init__(self, format: RowFormat[Result]) -> None:
        self._format = format
        self._heading = format.header

    def write(self, image: str, outcome: Result | PinnaceError) -> None:
        """Print a row."""
        sys.stdout.write(self._heading + self._format.line(image, outcome))
        sys.stdout.flush()
        self._heading = ""


@dataclass(frozen=True)
class TextRows(Generic[Result]):
    """Rows of text, see `Rows`.

    Attributes:
        format: how rows are written.
        output: a file, or None for standard output.
        resume: leave out the images that have a row in the file.
    """

    format: RowFormat[Result]
    output: Path | None
    resume: bool = False

    def check_name(self, image: str) -> None:
        """Refuse a name that no row can hold."""
        self.format.check_name(image)

    def open(self, each: Each) -> AbstractContextManager[Sink[Result]]:
        """Open the file, or take standard output."""
        if self.output is None:
            return nullcontext(RowStream(self.format))
        return RowFile(self.output, self.format, resume=self.resume, each=each)


def write_rows(
    backend: Backend[Result], images: Sequence[str], rows: Rows[Result], *, word: str, progress: bool | None
) -> bool:
    """Ask for each image, write its row as soon as it is done, and summarise on standard error.

    Args:
        backend: what answers.
        images: paths.
        rows: where the answers go.
        word: what an image is that has its answer, such as `classified`.
        progress: whether to draw a bar; None means on a terminal only.

    Returns:
        Whether every image has an answer, those of earlier runs included.

    Raises:
        PinnaceError: the error is not about one image; rows that are written stay.
        KeyboardInterrupt: interrupted; rows that are written stay, and a message has been printed.
    """
    for image in images:
        rows.check_name(image)
    tally = Tally()
    watch = Stopwatch()
    finished: set[str] = set()

    def earlier(row: Finished) -> None:
        finished.add(row.image)
        tally.count_earlier(row)

    with rows.open(earlier) as sink:
        todo = [image for image in images if image not in finished]
        try:
            with progress_bar(progress, total=len(images), done=len(images) - len(todo)) as bar:
                answer_each(
                    backend,
                    todo,
                    tally=tally,
                    write=sink.write,
                    report=lambda image, error: print_failure(bar.console, image, error),
                    advance=bar.advance,
                )
        except (KeyboardInterrupt, PinnaceError) as error:
            _print_how_far(rows.output, len(images), len(images) - len(todo) + tally.written, error)
            raise
    print_summary(tally, watch.seconds, word)
    return tally.all_answered


def _print_how_far(output: Path | None, total: int, done: int, error: BaseException) -> None:
    what = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopped"
    text = f"{what}: {done:,} of {total:,} images are done"
    if output is not None and done:
        text += f"; run the same command with --resume to continue {output}"
    err().print(text, soft_wrap=True, markup=False)
