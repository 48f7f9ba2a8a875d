"""The population stability index of two samples, with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pinnace.cli.drift.bins import Binned, Codes
from pinnace.models.errors import MissingDependency
from pinnace.models.install import install_line

CONFIDENCE = 0.95
RESAMPLES = 999
SEED = 20_260_101

# Of a larger sample so many are drawn for the interval, which is only a little wider for it.
MOST_DRAWN = 5_000


@dataclass(frozen=True)
class Stability:
    """The index, and its 95 % interval.

    Attributes:
        index: 0 where the shares of all bins are the same.
        low: of the interval.
        high: of the interval.
    """

    index: float
    low: float
    high: float


def stability_index(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The population stability index: sum of (q - p) ln(q / p) over bins, with p and q the shares.

    A half is added to each count (Jeffreys), since the logarithm of an empty bin is infinite.

    Args:
        first: counts, shape (..., bins).
        second: counts, shape (..., bins).
    """
    p, q = ((each + 0.5) / (each + 0.5).sum(axis=-1, keepdims=True) for each in (first, second))
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def stability(binned: Binned) -> Stability:
    """The index of two samples, and its interval by the basic bootstrap of SciPy.

    The basic bootstrap takes off what chance alone adds to the index, which is never below 0: about
    (bins - 1) (1/n + 1/m) where nothing has changed.

    Raises:
        MissingDependency: SciPy is not installed.
    """
    try:
        from scipy.stats import bootstrap
    except ModuleNotFoundError:
        raise MissingDependency(
            "an interval needs the package scipy, which is not installed", hint=install_line("drift")
        ) from None
    bins = len(binned.names)
    index = float(stability_index(_counts(binned.first, bins), _counts(binned.second, bins)))
    if bins == 1:
        return Stability(0.0, 0.0, 0.0)
    random = np.random.default_rng(SEED)
    drawn = [_some(codes, random) for codes in (binned.first, binned.second)]

    def statistic(one: Codes, other: Codes, axis: int) -> Any:
        return stability_index(_counts(one, bins), _counts(other, bins))

    found = bootstrap(
        drawn,
        statistic,
        n_resamples=RESAMPLES,
        batch=100,
        vectorized=True,
        method="basic",
        confidence_level=CONFIDENCE,
        rng=random,
    ).confidence_interval
    return Stability(index, max(0.0, float(found.low)), max(0.0, float(found.high)))


def _some(codes: Codes, random: np.random.Generator) -> Codes:
    return codes if len(codes) <= MOST_DRAWN else random.choice(codes, MOST_DRAWN, replace=False)


def _counts(codes: Codes, bins: int) -> npt.NDArray[np.float64]:
    """How many of each bin; the last axis of shape (..., values) becomes bins."""
    lines = codes.reshape(-1, codes.shape[-1])
    apart = lines + bins * np.arange(len(lines))[:, np.newaxis]
    counts = np.bincount(apart.ravel(), minlength=bins * len(lines))
    return counts.reshape(*codes.shape[:-1], bins).astype(np.float64)
