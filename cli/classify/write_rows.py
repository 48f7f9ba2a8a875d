"""Thousands of images, one row each, in a file or on standard output."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from pinnace.cli.classify.display import Stopwatch, print_failure, print_summary, progress_bar
from pinnace.cli.classify.job import Backend, Tally, classify_each
from pinnace.cli.classify.row_file import RowFile
from pinnace.cli.classify.row_formats import Finished, Outcome, RowFormat
from pinnace.cli.console import err
from pinnace.models.errors import PinnaceError


class RowStream:
    """Rows on standard output, as they come."""

    def __init__(self, format: RowFormat) -> None:
        self._format = format
        self._heading = format.header

    def write(self, image: str, outcome: Outcome) -> None:
        """Print a row."""
        sys.stdout.write(self._heading + self._format.line(image, outcome))
        sys.stdout.flush()
        self._heading = ""


def write_rows(
    backend: Backend,
    images: Sequence[str],
    format: RowFormat,
    output: Path | None,
    *,
    resume: bool,
    progress: bool | None,
) -> bool:
    """Classify each image, write its row as soon as it is done, and summarise on standard error.

    Args:
        backend: what answers.
        images: paths.
        format: how rows are written.
        output: a file, or None for standard output.
        resume: leave out the images that have a row in the file.
        progress: whether to draw a bar; None means on a terminal only.

    Returns:
        Whether every image has an answer, those of earlier runs included.

    Raises:
        PinnaceError: the error is not about one image; rows that are written stay.
        KeyboardInterrupt: interrupted; rows that are written stay, and a message has been printed.
    """
    for image in images:
        format.check_name(image)
    tally = Tally()
    watch = Stopwatch()
    finished: set[str] = set()

    def earlier(row: Finished) -> None:
        finished.add(row.image)
        tally.count_earlier(row)

    sink: AbstractContextManager[RowFile | RowStream]
    if output is None:
        sink = nullcontext(RowStream(format))
    else:
        sink = RowFile(output, format, resume=resume, each=earlier)
    with sink as rows:
        todo = [image for image in images if image not in finished]
        try:
            with progress_bar(progress, total=len(images), done=len(images) - len(todo)) as bar:
                classify_each(
                    backend,
                    todo,
                    tally=tally,
                    write=rows.write,
                    report=lambda image, error: print_failure(bar.console, image, error),
                    advance=bar.advance,
                )
        except (KeyboardInterrupt, PinnaceError) as error:
            _print_how_far(output, len(images), len(images) - len(todo) + tally.written, error)
            raise
    print_summary(tally, watch.seconds)
    return tally.all_answered


def _print_how_far(output: Path | None, total: int, done: int, error: BaseException) -> None:
    what = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopped"
    text = f"{what}: {done:,} of {total:,} images are done"
    if output is not None and done:
        text += f"; run the same command with --resume to continue {output}"
    err().print(text, soft_wrap=True, markup=False)
