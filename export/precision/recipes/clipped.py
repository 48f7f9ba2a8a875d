"""`clipped`: rare large values are cut off where that lessens the squared error, then as `sequential`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pinnace.export.precision import squared_error
from pinnace.export.precision.recipes import sequential
from pinnace.export.precision.recipes.base import CalibratedNetwork, Recipe

if TYPE_CHECKING:
    import onnx


def make(network: CalibratedNetwork) -> onnx.ModelProto:
    """See `pinnace.export.precision.squared_error`."""
    ranges = squared_error.clip(network.base, network.ranges, network.material)
    return sequential.make(dataclasses.replace(network, ranges=ranges))


RECIPE = Recipe("clipped", 4, "ranges of least squared error, then as sequential", make)
