"""Bins for two samples: of numbers by their quantiles, of classes by their frequency."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pinnace.latency.reports.scale import label

Codes = npt.NDArray[np.int64]

NUMBER_BINS = 10
MOST_CLASSES = 10  # with a bin of their own
REST_BINS = 5
_LEAST_SHARE = 0.02


@dataclass(frozen=True)
class Binned:
    """Two samples, each value as the index of its bin.

    Attributes:
        first: shape (values,), of the reference.
        second: shape (values,), of what is compared with it.
        names: of the bins.
    """

    first: Codes
    second: Codes
    names: tuple[str, ...]

    @property
    def shares(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The share of each bin in each sample."""
        counts = (np.bincount(codes, minlength=len(self.names)) for codes in (self.first, self.second))
        first, second = (each / each.sum() for each in counts)
        return first, second


def bin_numbers(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> Binned:
    """Bins that have about as many values each, of both samples together, in which both count the same.

    The quantiles of the reference alone would be one bin where all of its values are the same, as the sizes
    of a camera's pictures are.
    """
    values = np.concatenate([first, second])
    weights = np.concatenate([np.full(len(each), 1 / len(each)) for each in (first, second)])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) / 2
    places = np.searchsorted(reached, np.arange(1, NUMBER_BINS) / NUMBER_BINS - 1e-9)
    edges = np.unique(values[order][np.minimum(places, len(values) - 1)])
    edges = edges[edges < values.max()]
    codes = np.searchsorted(edges, values, side="left")
    return Binned(codes[: len(first)], codes[len(first) :], _ranges(edges, values))


def _ranges(edges: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> tuple[str, ...]:
    """A name for each bin: up to an edge, or between two."""
    rounded = [label(float(f"{edge:.4g}")) for edge in edges]
    if not rounded:
        return (label(float(f"{values[0]:.4g}")),)
    between = [f"{low} to {high}" for low, high in itertools.pairwise(rounded)]
    return (f"up to {rounded[0]}", *between, f"above {rounded[-1]}")


def bin_classes(
    first: npt.NDArray[np.str_], second: npt.NDArray[np.str_], order: tuple[str, ...] = ()
) -> Binned:
    """A bin for each class that is frequent in both samples together, in which both count the same; the rest
    in a few bins of neighbours.

    With a bin for each of a thousand classes, a few hundred answers would be noise. Neighbours in a list of
    labels are often alike, as the dogs of ImageNet are.

    Args:
        first: the reference.
        second: what is compared with it.
        order: all labels, as the model has them; by default in alphabetical order.
    """
    names, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    counts = (np.bincount(part, minlength=len(names)) for part in (codes[: len(first)], codes[len(first) :]))
    share = sum((each / each.sum() for each in counts), np.zeros(len(names))) / 2
    frequent = np.argsort(-share, kind="stable")[:MOST_CLASSES]
    frequent = frequent[share[frequent] >= _LEAST_SHARE]
    place = {name: index for index, name in enumerate(order)}
    rest = [index for index in range(len(names)) if index not in set(frequent.tolist())]
    rest.sort(key=lambda index: (place.get(str(names[index]), len(place)), str(names[index])))
    bin_of = np.empty(len(names), np.int64)
    bin_of[frequent] = np.arange(len(frequent))
    titles = [str(name) for name in names[frequent]]
    if rest:
        reached = np.cumsum(share[rest]) - share[rest] / 2
        groups = max(1, min(REST_BINS, int(share[rest].sum() / _LEAST_SHARE)))
        which = np.minimum((reached / share[rest].sum() * groups).astype(np.int64), groups - 1)
        for group in np.unique(which):
            members = [index for index, one in zip(rest, which, strict=True) if one == group]
            bin_of[members] = len(titles)
            ends = str(names[members[0]]), str(names[members[-1]])
            titles.append(ends[0] if len(members) == 1 else f"{ends[0]} … {ends[1]} ({len(members)} classes)")
    return Binned(bin_of[codes[: len(first)]], bin_of[codes[len(first) :]], tuple(titles))
