"""The interface of what is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pinnace.latency.result_parts import Stages


@dataclass(frozen=True)
class SubjectInfo:
    """What a row of the report says of the subject; see `Result`."""

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
    file_bytes: int | None = None


class Subject(Protocol):
    """Something whose latency is measured.

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
        """Process these inputs, and return when the outputs are there.

        Raises:
            PinnaceError: it failed.
        """

    def stages(self) -> Stages:
        """Medians of the parts of the calls since this was last called."""

    def close(self) -> None:
        """Free what it holds."""
