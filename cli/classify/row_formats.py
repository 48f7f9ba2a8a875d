"""Answers as rows of text: JSON Lines, or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, TypeVar

from pinnace.models.answer import Answer, Embedding
from pinnace.models.errors import PinnaceError, UsageError

Outcome = Answer | PinnaceError

# What is asked for each image.
Result = TypeVar("Result", bound=Answer | Embedding)
Result_contra = TypeVar("Result_contra", bound=Answer | Embedding, contravariant=True)

_BETWEEN = "|"


@dataclass(frozen=True)
class Finished:
    """The content of a row that an earlier run wrote.

    Attributes:
        image: its path, as it was typed.
        labels: what is true of it: its most probable class, or every label that reaches the threshold; empty
            for an embedding; None where the row holds an error.
        made_by: model and variant, or None where the row holds an error.
    """

    image: str
    labels: tuple[str, ...] | None
    made_by: tuple[str, str] | None


class RowFormat(Protocol[Result_contra]):
    """One way to write rows, and to read them again. Every row is one line.

    Attributes:
        suffixes: what names of such files end in.
        header: the first line, or nothing.
        encoding_errors: what becomes of file names that are not text.
    """

    suffixes: ClassVar[tuple[str, ...]]
    encoding_errors: ClassVar[str]
    header: str

    def check_name(self, image: str) -> None:
        """Refuse a name that no row can hold.

        Raises:
            UsageError: it has a line break, and the format cannot escape it.
        """

    def line(self, image: str, outcome: Result_contra | PinnaceError) -> str:
        """The row, with its newline; nothing where such an outcome has no row."""

    def read(self, line: str) -> Finished:
        """Parse a whole row.

        Raises:
            ValueError: the line is something else.
        """

    def may_begin_with(self, text: str) -> bool:
        """Whether a row that was cut off could be this text."""


def as_data(image: str, outcome: Answer | Embedding | PinnaceError) -> dict[str, Any]:
    """A row as plain data, the same in `--json` and in JSON Lines: an answer's fields, or `error`.

    `threshold` and `above_threshold` are there where several labels may be true.
    """
    if isinstance(outcome, PinnaceError):
        return {"image": image, **outcome.http_body()}
    fields = asdict(outcome)
    if isinstance(outcome, Answer) and outcome.threshold is None:
        del fields["threshold"]
        for prediction in fields["predictions"]:
            del prediction["above_threshold"]
    return {"image": image, **fields}


class JsonLines:
    """One JSON object a line, as `as_data` gives it."""

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")
    # A lone surrogate, which stands for a byte that is not UTF-8, becomes the JSON escape of itself.
    encoding_errors: ClassVar[str] = "backslashreplace"
    header = ""

    def check_name(self, image: str) -> None:
        """Accept every name."""

    def line(self, image: str, outcome: Outcome) -> str:
        """The row, with its newline."""
        return json.dumps(as_data(image, outcome), ensure_ascii=False) + "\n"

    def read(self, line: str) -> Finished:
        """Parse a whole row."""
        try:
            row: Mapping[str, Any] = json.loads(line)
            if "error" in row:
                return Finished(row["image"], None, None)
            predictions = row["predictions"]
            best = [predictions[0]]
            if "threshold" in row:
                best = [prediction for prediction in predictions if prediction["above_threshold"]]
            labels = tuple(prediction["label"] for prediction in best)
            return Finished(row["image"], labels, (row["model"], row["variant"]))
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError from error

    def may_begin_with(self, text: str) -> bool:
        """Whether a row that was cut off could be this text."""
        start = '{"image": "'
        return text.startswith(start) or start.startswith(text)


class Csv:
    """One line an image: who answered, how long it took, the classes; or the code and message of an error."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    encoding_errors: ClassVar[str] = "surrogateescape"

    _LEADING: ClassVar = ("image", "model", "variant", "runtime", "total_ms")
    _OF_A_CLASS: ClassVar = ("label", "index", "probability")

    def __init__(self, top_k: int, *, several_labels: bool = False) -> None:
        """A table with columns for `top_k` classes; they stay empty where a model has fewer.

        Where several labels may be true, the column `labels` has all that are, with `|` between them.
        """
        self._top_k = top_k
        self._several_labels = several_labels
        classes = (f"{name}_{n}" for n in range(1, top_k + 1) for name in self._OF_A_CLASS)
        labels = ("labels",) if several_labels else ()
        self._columns = (*self._LEADING, *labels, *classes, "error_code", "error_message")
        self.header = _csv_line(self._columns)

    def check_name(self, image: str) -> None:
        """Refuse a name with a line break, which would make two lines of one row."""
        if "\n" in image or "\r" in image:
            raise UsageError(f"{image!r} has a line break, and a row of CSV is one line", hint="write .jsonl")

    def line(self, image: str, outcome: Outcome) -> str:
        """The row, with its newline."""
        if isinstance(outcome, PinnaceError):
            empty = [""] * (len(self._columns) - 3)
            return _csv_line([image, *empty, outcome.code, " ".join(outcome.message.split())])
        cells: list[object] = [image, outcome.model, outcome.variant, outcome.runtime]
        cells.append(round(outcome.timing_ms.total, 3))
        if self._several_labels:
            cells.append(_BETWEEN.join(outcome.labels))
        for prediction in outcome.predictions[: self._top_k]:
            cells += [prediction.label, prediction.index, prediction.probability]
        return _csv_line(cells + [""] * (len(self._columns) - len(cells)))

    def read(self, line: str) -> Finished:
        """Parse a whole row."""
        try:
            cells = next(csv.reader([line], strict=True), [])
        except csv.Error as error:
            raise ValueError from error
        if len(cells) != len(self._columns):
            raise ValueError
        row = dict(zip(self._columns, cells, strict=True))
        if row["error_code"]:
            return Finished(row["image"], None, None)
        labels = (row["label_1"],)
        if self._several_labels:
            labels = tuple(label for label in row["labels"].split(_BETWEEN) if label)
        return Finished(row["image"], labels, (row["model"], row["variant"]))

    def may_begin_with(self, text: str) -> bool:
        """Whether a row that was cut off could be this text."""
        return True  # the header has shown that the file is one of ours


def _csv_line(cells: list[object] | tuple[str, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
