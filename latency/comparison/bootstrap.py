"""How sure a ratio of two statistics is: a bootstrap on the single latencies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
RESAMPLES = 1000
SEED = 20_260_101
_MOST_DRAWN = 40_000_000  # latencies over all resamples of one side, so that a million of them take seconds
_FEWEST = 20

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], Floats]


def percentile(share: float) -> Statistic:
    """The nearest-rank percentile of each line of an array, as reports give it; `share` is 0.99 for p99."""

    def statistic(lines: Floats) -> Floats:
        rank = max(0, math.ceil(share * lines.shape[1]) - 1)
        return np.asarray(np.partition(lines, rank, axis=1)[:, rank])

    return statistic


def mean(lines: Floats) -> Floats:
    """The mean of each line."""
    return np.asarray(lines.mean(axis=1))


def interval(
    first: Sequence[float], other: Sequence[float], statistic: Statistic, *, seed: int = SEED
) -> tuple[float, float] | None:
    """The 95 % interval of `statistic(other) / statistic(first)`, or None for fewer than 20 latencies.

    Latencies that follow each other resemble each other, so whole blocks of neighbours are drawn, of the cube
    root of their number (circular block bootstrap; Politis and Romano 1992), 1000 times from either side; the
    interval lies between the 2.5th and the 97.5th percentile of the ratios.

    Args:
        first: latencies of the reference, in the order of time; any unit, above 0.
        other: latencies of what is compared with it.
        statistic: of latencies.
        seed: of the draws; the same seed gives the same interval.
    """
    if min(len(first), len(other)) < _FEWEST:
        return None
    random = np.random.default_rng(seed)
    below = _resampled(np.asarray(first, dtype=np.float64), statistic, random)
    above = _resampled(np.asarray(other, dtype=np.float64), statistic, random)
    count = min(len(below), len(above))
    ratios = above[:count] / below[:count]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(ratios, (tail, 100 - tail))
    return float(low), float(high)


def _resampled(values: Floats, statistic: Statistic, random: np.random.Generator) -> Floats:
    """The statistic of each resample, shape (resamples,)."""
    count = len(values)
    block = max(1, round(count ** (1 / 3)))
    resamples = max(200, min(RESAMPLES, _MOST_DRAWN // count))
    blocks = -(-count // block)
    at_once = max(1, 2_000_000 // count)
    found = []
    for begin in range(0, resamples, at_once):
        lines = min(at_once, resamples - begin)
        starts = random.integers(0, count, size=(lines, blocks, 1))
        places = ((starts + np.arange(block)) % count).reshape(lines, -1)[:, :count]
        found.append(statistic(values[places]))
    return np.concatenate(found)


def paired_interval(ratios: Sequence[float], *, seed: int = SEED) -> tuple[float, float]:
    """The 95 % interval of the geometric mean of ratios, each taken within one round of both.

    A percentile bootstrap over the rounds. With few of them its tails are too short, so they are stretched as
    for Student's t (expanded percentile interval: Hesterberg 2015, "What Teachers Should Know About the
    Bootstrap", section 4.2); with three rounds, the interval is from the lowest ratio to the highest.

    Args:
        ratios: at least 2, above 0.
        seed: of the draws; the same seed gives the same interval.
    """
    count = len(ratios)
    logs = np.log(np.asarray(ratios, dtype=np.float64))
    draws = np.random.default_rng(seed).integers(0, count, size=(4 * RESAMPLES, count))
    means = logs[draws].mean(axis=1)
    stretched = math.sqrt(count / (count - 1)) * _student_quantile(count - 1)
    tail = 50 * math.erfc(stretched / math.sqrt(2))  # per cent beyond so many standard deviations
    low, high = np.percentile(means, (tail, 100 - tail))
    return math.exp(float(low)), math.exp(float(high))


def _student_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t.

    From a table up to 6 degrees of freedom; above, the expansion of Abramowitz and Stegun, 26.7.5.
    """
    table = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469)
    if freedom <= len(table):
        return table[freedom - 1]
    z, n = 1.959964, freedom
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / n + second / n**2
