"""Percentiles and their bounds are those of MLPerf's LoadGen."""

from __future__ import annotations

import random

import pytest

from pinnace.latency.statistics import bound, percentile


def test_a_percentile_is_a_value_that_was_measured_and_the_worst_is_never_clipped() -> None:
    values = [float(each) for each in range(1, 101)]
    assert [percentile(values, p) for p in (50, 90, 99, 100)] == [51.0, 91.0, 100.0, 100.0]
    assert percentile([7.0], 99) == 7.0


@pytest.mark.parametrize(("percent", "needed"), [(90.0, 64), (99.0, 662)])
def test_a_bound_needs_as_many_queries_as_loadgen_says(percent: float, needed: int) -> None:
    values = [float(each) for each in range(needed)]
    assert bound(values[:-1], percent).ms is None
    assert bound(values[:-1], percent).needed == needed
    assert bound(values, percent).ms == values[-1]


@pytest.mark.slow
def test_a_bound_is_rarely_below_the_true_percentile() -> None:
    made = random.Random(0)
    below = 0
    for _ in range(500):
        values = sorted(made.random() for _ in range(300))
        estimate = bound(values, 90.0).ms
        assert estimate is not None
        assert estimate >= percentile(values, 90.0)
        below += estimate < 0.9
    assert below <= 15  # 1 % of 500, and three standard deviations
