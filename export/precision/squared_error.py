"""Narrower ranges: the steps inside get finer, and what lies outside is cut off.

The range of a tensor that reaches far only here and there has coarse steps for all its values. Of 25 shares
of either end the pair is taken with the least expected square of the error: step^2 / 12 inside the range, and
the square of what is cut off outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pinnace.export.precision import graphs
from pinnace.export.precision.base import ConversionInput

if TYPE_CHECKING:
    import onnx

_IMAGES = 24
_BINS = 2048
_SHARES = np.linspace(0.4, 1.0, 25)
_STEPS = 255


def clip(base: onnx.ModelProto, ranges: Any, material: ConversionInput) -> Any:
    """The ranges of least squared error within the ones that were found.

    Args:
        base: the fp32 graph.
        ranges: ONNX Runtime's `TensorsData`. It is not changed.
        material: has the calibration images.
    """
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

    assert material.images is not None
    ends = {name: _ends(found.range_value) for name, found in ranges.items()}
    tensors = [name for name in graphs.float_tensors(base) if name in ends]
    images = material.images[:: max(1, len(material.images) // _IMAGES)][:_IMAGES]
    counts = {name: np.zeros(_BINS) for name in tensors}
    feeds: dict[str, npt.NDArray[np.generic]] = {material.input: images}
    for values in graphs.run_tapped(base, tensors, feeds, one_by_one=material.fixed_batch):
        for name, value in values.items():
            low, high = ends[name]
            if high > low:
                counts[name] += np.histogram(value, _BINS, (low, high))[0]
    narrowed = {name: narrow(*ends[name], counts[name]) if name in counts else ends[name] for name in ends}
    return TensorsData(
        CalibrationMethod.MinMax,
        {name: (np.float32(low), np.float32(high)) for name, (low, high) in narrowed.items()},
    )


def narrow(low: float, high: float, counts: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The range within `low` <= 0 <= `high` of least squared error.

    Args:
        low: lower end.
        high: upper end.
        counts: how many values lie in each of equal parts of it.
    """
    if high <= low or not counts.sum():
        return low, high
    middles = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)
    share = counts / counts.sum()
    best = (np.inf, low, high)
    for least in _SHARES * low if low < 0 else (low,):
        below = (share * np.square(np.minimum(middles - least, 0))).sum()
        for most in _SHARES * high if high > 0 else (high,):
            above = (share * np.square(np.maximum(middles - most, 0))).sum()
            error = below + above + ((most - least) / _STEPS) ** 2 / 12
            best = min(best, (float(error), float(least), float(most)))
    return best[1], best[2]


def _ends(found: tuple[Any, Any]) -> tuple[float, float]:
    """A range that has zero in it."""
    low, high = (float(np.asarray(end).reshape(-1)[0]) for end in found)
    return min(low, 0.0), max(high, 0.0)
