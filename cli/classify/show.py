"""A few images, whose answers are shown as bars or printed as one JSON list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pinnace.cli.classify.display import print_answer
from pinnace.cli.classify.job import Backend, Tally, answer_each
from pinnace.cli.classify.row_formats import Result, as_data
from pinnace.cli.console import err, plain, print_error, print_json
from pinnace.models.answer import Answer
from pinnace.models.errors import PinnaceError


def show(backend: Backend[Result], images: Sequence[str], *, json: bool) -> bool:
    """Ask for each image and print its answer; as JSON, one list when all of them are there.

    Returns:
        Whether every image has an answer.

    Raises:
        PinnaceError: the only image cannot be read, or the error is not about one image.
    """
    rows: list[dict[str, Any]] = []
    tally = Tally()

    def write(image: str, outcome: Result | PinnaceError) -> None:
        if json:
            rows.append(as_data(image, outcome))
        elif isinstance(outcome, Answer):
            print_answer(image, outcome)

    def report(image: str, error: PinnaceError) -> None:
        if len(images) == 1:
            raise error
        if not json:
            err().print(f"[bold]{plain(image)}[/]", soft_wrap=True)
            print_error(error)

    answer_each(backend, images, tally=tally, write=write, report=report)
    if json:
        print_json(rows)
    return tally.all_answered
