"""What is timed: something that answers for one or several inputs, and says what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pinnace.latency.report import Stages


@dataclass(frozen=True)
class SubjectInfo:
    """What a row says of the thing that was timed; see `Result`."""

    model: str
    source: str
    variant: str
    runtime: str
    provider: str
    precision: str
    device: str
    threads: int | None
    timed: str
    input: dict[str, tuple[int, ...]]


class Subject(Protocol):
    """Something to time.

    Attributes:
        info: what it is.
        library: how many different inputs it has; they are called by index.
        at_once: calls that may run at the same time.
        batch: images of one call, where a query has as many.
    """

    info: SubjectInfo
    library: int
    at_once: int
    batch: int

    def call(self, indices: Sequence[int]) -> None:
        """Answer for these inputs, and return when the answer is there.

        Raises:
            PinnaceError: there is no answer.
        """

    def stages(self) -> Stages:
        """Medians of the parts of the calls since the last time this was asked."""

    def close(self) -> None:
        """Free what it holds."""
