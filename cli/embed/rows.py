"""Vectors as JSON Lines, and which file a name stands for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pinnace.cli.classify.row_formats import Finished
from pinnace.cli.classify.write_rows import Rows, TextRows
from pinnace.models.answer import Embedding
from pinnace.models.errors import PinnaceError, UsageError

_SUFFIXES = (".parquet", ".npy", ".jsonl")


class VectorLines:
    """One JSON object a line: `image`, `model`, `variant`, `embedding`; none for an unreadable image."""

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl",)
    encoding_errors: ClassVar[str] = "backslashreplace"
    header = ""

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype

    def check_name(self, image: str) -> None:
        """Accept every name."""

    def line(self, image: str, outcome: Embedding | PinnaceError) -> str:
        """The row, with its newline."""
        if isinstance(outcome, PinnaceError):
            return ""
        head = {"image": image, "model": outcome.model, "variant": outcome.variant}
        # The shortest text that gives the same number back.
        numbers = ", ".join(map(str, np.asarray(outcome.embedding, self._dtype)))
        return f'{json.dumps(head, ensure_ascii=False)[:-1]}, "embedding": [{numbers}]}}\n'

    def read(self, line: str) -> Finished:
        """Parse a whole row."""
        try:
            row: dict[str, Any] = json.loads(line)
            if not isinstance(row["embedding"], list):
                raise ValueError
            return Finished(row["image"], (), (row["model"], row["variant"]))
        except (KeyError, TypeError) as error:
            raise ValueError from error

    def may_begin_with(self, text: str) -> bool:
        """Whether a row that was cut off could be this text."""
        start = '{"image": "'
        return text.startswith(start) or start.startswith(text)


def rounded(embedding: Embedding, dtype: str) -> Embedding:
    """The same with numbers that a type can hold."""
    return replace(embedding, embedding=tuple(map(float, np.asarray(embedding.embedding, dtype))))


def rows_for(output: Path | None, dtype: str, *, resume: bool) -> Rows[Embedding]:
    """Where the vectors go: the file that a name stands for; None for JSON Lines on standard output.

    Raises:
        UsageError: the name ends in none of the suffixes, or its folder is missing.
        MissingDependency: it is Parquet, and pyarrow is not installed.
    """
    if output is None:
        return TextRows(VectorLines(dtype), None)
    suffix = output.suffix.lower()
    if suffix not in _SUFFIXES:
        raise UsageError(
            f"the format of the vectors does not follow from the name {output}",
            expected=f"a file that ends in {', '.join(_SUFFIXES)}",
        )
    if not output.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {output.absolute().parent}")
    if suffix == ".jsonl":
        return TextRows(VectorLines(dtype), output, resume)
    if suffix == ".npy":
        from pinnace.cli.embed.numpy_file import NumpyRows

        return NumpyRows(output, dtype, resume)
    from pinnace.cli.embed.parquet_file import ParquetRows

    return ParquetRows(output, dtype, resume)
