"""Two samples of answers side by side: what has drifted, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pinnace.cli.drift.bins import Binned, bin_classes, bin_numbers
from pinnace.cli.drift.stability import Stability, stability
from pinnace.models.records.observations import Observations

Verdict = Literal["drift", "perhaps", "same"]

THRESHOLD = 0.1
FEWEST = 100

# In the order in which they are shown.
NUMBERS: dict[str, tuple[str, Callable[[Observations], npt.NDArray[np.float64]]]] = {
    "confidence": ("confidence of the first class", lambda rows: rows.confidence),
    "size": ("image size, megapixels", lambda rows: rows.width * rows.height / 1e6),
    "bytes": ("file size, kB", lambda rows: rows.bytes / 1e3),
    "brightness": ("mean brightness, 0 to 255", lambda rows: rows.brightness),
}
CLASSES = "classes"
NAMES = (CLASSES, *NUMBERS)


@dataclass(frozen=True)
class Feature:
    """One thing that is compared.

    Attributes:
        name: `classes`, or one of `NUMBERS`.
        words: what it is.
        binned: the two samples.
        stability: the population stability index.
        threshold: of the index.
        medians: of both samples; None of classes.
    """

    name: str
    words: str
    binned: Binned
    stability: Stability
    threshold: float
    medians: tuple[float, float] | None = None

    @property
    def verdict(self) -> Verdict:
        """`drift` where the whole interval lies above the threshold, `perhaps` where the index alone does."""
        if self.stability.low > self.threshold:
            return "drift"
        return "perhaps" if self.stability.index > self.threshold else "same"


def compare(
    first: Observations,
    second: Observations,
    thresholds: dict[str, float] | None = None,
    labels: tuple[str, ...] = (),
) -> list[Feature]:
    """Compare answers with a reference.

    Args:
        first: the reference.
        second: what is compared with it.
        thresholds: by the name of the feature; the others have `THRESHOLD`.
        labels: all labels in the model's order; by default they are taken in alphabetical order.

    Raises:
        MissingDependency: SciPy is not installed.
    """
    limits = {**dict.fromkeys(NAMES, THRESHOLD), **(thresholds or {})}
    binned = bin_classes(first.labels, second.labels, labels)
    found = [Feature(CLASSES, "first classes", binned, stability(binned), limits[CLASSES])]
    for name, (words, column) in NUMBERS.items():
        one, other = (values[np.isfinite(values)] for values in (column(first), column(second)))
        if not len(one) or not len(other):
            continue
        binned = bin_numbers(one, other)
        medians = float(np.median(one)), float(np.median(other))
        found.append(Feature(name, words, binned, stability(binned), limits[name], medians))
    return found
