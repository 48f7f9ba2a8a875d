"""What to call the rows of a scenario: by variant and runtime, and by batch and threads where they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pinnace.latency.result import Result


def row_names(rows: Sequence[Result]) -> list[str]:
    """A name for each row; with the batch and the threads where several rows are else called the same."""
    counts = Counter(row.row for row in rows)
    batches = len({row.batch for row in rows}) > 1
    threads = len({row.threads for row in rows}) > 1
    names = []
    for row in rows:
        name = row.row
        if counts[name] > 1 and batches:
            name += f", batch {row.batch}"
        if counts[row.row] > 1 and threads and row.threads is not None:
            name += f", {row.threads} thread{'s' * (row.threads != 1)}"
        names.append(name)
    return names


def renamed(rows: Sequence[Result]) -> list[Result]:
    """The rows with these names, for pictures."""
    return [replace(row, variant=name, runtime="") for row, name in zip(rows, row_names(rows), strict=True)]
