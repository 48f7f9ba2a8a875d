"""Axes: from values to places, and the round values to write beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Values `low` to `high` laid on places `start` to `end`, evenly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the scale, at most about so many."""
        if self.log:
            return _log_ticks(self.low, self.high, most)
        step = nice_step((self.high - self.low) / most)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]


def fit(values: Sequence[float], start: float, end: float, *, zero: bool = False, log: bool = False) -> Scale:
    """A scale that holds all values with a little room; from 0 where `zero`."""
    low, high = min(values), max(values)
    if log and low > 0:
        return Scale(low / 1.05, high * 1.05, start, end, log=True)
    if zero:
        return Scale(0.0, (high or 1.0) * 1.06, start, end)
    room = 0.06 * (high - low) or 0.02 * abs(high) or 0.5
    return Scale(low - room if low - room > 0 or low <= 0 else 0.0, high + room, start, end)


def wants_log(values: Sequence[float]) -> bool:
    """Whether a few long values would press all others into a corner."""
    ordered = sorted(values)
    return ordered[0] > 0 and ordered[-1] > 4 * ordered[len(ordered) // 2]


def nice_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= rough * (1 - 1e-9))


def label(value: float) -> str:
    """A value, written as short as possible."""
    if value and abs(value) < 0.001:
        return f"{value:.0e}"
    return f"{value:,.10g}" if abs(value) < 1e6 else f"{value:.3g}"


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    found: list[float] = []
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        found = [
            value
            for power in range(first, last + 1)
            for step in steps
            if low <= (value := round(step * 10.0**power, 10)) <= high
        ]
        if len(found) <= most:
            break
    return found
