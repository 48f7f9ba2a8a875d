"""`--sweep batch=1,2,4 threads=1,2`: every combination of batches and threads."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from pinnace.models.errors import UsageError

NAMES = ("batch", "threads")


def parse_sweep(words: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The values of each name, in the order in which they were given.

    Args:
        words: each of one or more `NAME=N,N` with spaces between them.

    Raises:
        UsageError: one is something else, or names the same twice.
    """
    found: dict[str, tuple[int, ...]] = {}
    for word in " ".join(words).split():
        name, _, values = word.partition("=")
        if name not in NAMES or name in found or not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", values):
            raise UsageError("--sweep cannot be read", expected="such as batch=1,2,4,8 threads=1,2", got=word)
        found[name] = tuple(dict.fromkeys(map(int, values.split(","))))
    return found


def combinations(sweep: Mapping[str, Sequence[int]], batch: int, threads: int) -> Iterator[tuple[int, int]]:
    """Each batch with each number of threads; `batch` and `threads` where they are not swept."""
    yield from itertools.product(sweep.get("batch", (batch,)), sweep.get("threads", (threads,)))
