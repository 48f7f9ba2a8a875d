"""Percentiles, their early-stopping bounds, and the other figures of a row; all from every single latency."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from pinnace.latency.result_parts import Bound

PERCENTILES = (50.0, 90.0, 95.0, 99.0)
# Those that have a bound beside them: 99.9 last, which needs 6,636 queries for one.
BOUNDED = (90.0, 99.0, 99.9)
CONFIDENCE = 0.99


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: one of the values, as MLPerf's LoadGen takes it.

    Args:
        ordered: at least one value, in ascending order.
        percent: 0 to 100.
    """
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def bound(ordered: Sequence[float], percent: float) -> Bound:
    """The early-stopping estimate of a percentile, as MLPerf's LoadGen makes it.

    Among n queries, t may be slower than a value that the true percentile does not exceed with 99 %
    confidence: the largest t for which at most t slow ones among n are less likely than 1 %, if one in
    1/(1 - p) were slow. The estimate is the t-th slowest query.
    Source: early_stopping.cc of https://github.com/mlcommons/inference/tree/master/loadgen.

    Args:
        ordered: latencies in ascending order.
        percent: 0 to 100, exclusive.
    """
    slow = 1 - percent / 100
    needed = _needed(slow)
    count = len(ordered)
    if count < needed:
        return Bound(percent, None, needed)
    allowed, total, log_term = 0, 0.0, count * math.log1p(-slow)
    while True:
        total += math.exp(log_term)
        if total >= 1 - CONFIDENCE:
            break
        log_term += math.log(count - allowed) - math.log(allowed + 1) + math.log(slow) - math.log1p(-slow)
        allowed += 1
    return Bound(percent, ordered[count - max(1, allowed - 1)], needed)


@functools.cache
def _needed(slow: float) -> int:
    """How many queries a bound needs at least."""
    needed = 2
    while _at_most(1, needed, slow) >= 1 - CONFIDENCE:
        needed += 1
    return needed


def _at_most(slow_ones: int, count: int, slow: float) -> float:
    """How likely it is that so few of so many are slow."""
    return sum(math.comb(count, k) * slow**k * (1 - slow) ** (count - k) for k in range(slow_ones + 1))


def mean(values: Sequence[float]) -> float:
    """The mean of at least one value."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float:
    """The standard deviation; 0 for one value."""
    middle = mean(values)
    return math.sqrt(math.fsum((each - middle) ** 2 for each in values) / max(1, len(values) - 1))
