"""The resampling filters of Pillow, in double precision and to the bit: the curves of `Resample.c`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]

Floats = npt.NDArray[np.float64]


def _box(x: Floats) -> Floats:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


def _bilinear(x: Floats) -> Floats:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _hamming(x: Floats) -> Floats:
    first, second = float(np.float32(0.54)), float(np.float32(0.46))

    def at(value: float) -> float:
        if value == 0.0:
            return 1.0
        if value >= 1.0:
            return 0.0
        value *= math.pi
        return math.sin(value) / value * (first + second * math.cos(value))

    return np.array([at(abs(value)) for value in x.tolist()])


def _bicubic(x: Floats) -> Floats:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: Floats) -> Floats:
    return np.array([_sinc(at) * _sinc(at / 3) if -3.0 <= at < 3.0 else 0.0 for at in x.tolist()])


def _sinc(x: float) -> float:
    """With the C library's sine, as Pillow; NumPy has its own, which may differ in the last bit."""
    if x == 0.0:
        return 1.0
    x *= math.pi
    return math.sin(x) / x


FILTERS: dict[str, tuple[Callable[[Floats], Floats], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_bilinear, 1.0),
    "hamming": (_hamming, 1.0),
    "bicubic": (_bicubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}
"""For each filter, the weight at a distance from the centre, and the distance from which it is zero."""
