"""The tables that a report has beside that of the latencies: the same in every form of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pinnace.latency.reports import cold, energy, soak
from pinnace.latency.result import Result


@dataclass(frozen=True)
class ExtraTable:
    """A table with its title and a sentence on how it came about."""

    title: str
    method: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]


def tables(rows: Sequence[Result]) -> list[ExtraTable]:
    """Those that have lines."""
    every = (
        ExtraTable("Sustained", soak.method(rows), soak.HEAD, soak.cells(rows)),
        ExtraTable("Cold start and memory", cold.method(rows), cold.HEAD, cold.cells(rows)),
        ExtraTable("Energy", energy.METHOD, energy.HEAD, energy.cells(rows)),
    )
    return [each for each in every if each.lines]
