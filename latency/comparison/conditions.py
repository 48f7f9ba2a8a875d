"""`--fail-if`: `p99 > 1.1x`, `p50 > 12ms`, `throughput < 0.9x`."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass

from pinnace.models.errors import UsageError

LATENCIES = ("p50", "p90", "p95", "p99", "mean", "min", "max")
METRICS = (*LATENCIES, "throughput")
_COMPARE = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_GRAMMAR = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?|\.\d+)\s*(x|ms|s|/s)\s*", re.IGNORECASE)
_EXPECTED = "METRIC > VALUE or METRIC < VALUE, as in 'p99 > 1.1x', 'p50 > 12ms' or 'throughput < 90/s'"


@dataclass(frozen=True)
class Condition:
    """When a comparison fails.

    Attributes:
        metric: one of `METRICS`.
        compare: `>`, `>=`, `<` or `<=`.
        value: a ratio to the first report, milliseconds, or images a second.
        unit: `x`, `ms` or `/s`.
    """

    metric: str
    compare: str
    value: float
    unit: str

    def holds(self, value: float, ratio: float) -> bool:
        """Whether a metric with this value, and this ratio to the first report, is a failure."""
        return bool(_COMPARE[self.compare](ratio if self.unit == "x" else value, self.value))

    def __str__(self) -> str:
        return f"{self.metric} {self.compare} {self.value:g}{self.unit}"


def parse(text: str) -> Condition:
    """Read a condition.

    Raises:
        UsageError: it cannot be read, names an unknown metric, or gives a metric a unit of another.
    """
    found = _GRAMMAR.fullmatch(text)
    if not found:
        raise UsageError("--fail-if cannot be read as a condition", expected=_EXPECTED, got=text)
    metric, unit, value = found[1].lower(), found[4].lower(), float(found[3])
    if metric not in METRICS:
        raise UsageError(
            f"--fail-if names the metric {metric}, which reports do not have",
            expected=", ".join(METRICS),
            got=text,
        )
    if unit == "s":
        unit, value = "ms", 1000 * value
    right = "/s" if metric == "throughput" else "ms"
    if unit not in ("x", right):
        raise UsageError(
            f"{metric} is compared as a ratio or in {'images/s' if right == '/s' else right}",
            expected=f"a number with x or {right}",
            got=text,
        )
    return Condition(metric, found[2], value, unit)
