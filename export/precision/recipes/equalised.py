"""`equalised`: channels are brought to one size first, then as `sequential`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pinnace.export.precision import calibration
from pinnace.export.precision.equalise import equalise
from pinnace.export.precision.recipes import sequential
from pinnace.export.precision.recipes.base import CalibratedNetwork, Recipe

if TYPE_CHECKING:
    import onnx


def make(network: CalibratedNetwork) -> onnx.ModelProto | None:
    """See `pinnace.export.precision.equalise`; None where no channels can be scaled."""
    base, groups = equalise(network.base, network.material)
    if not groups:
        return None
    ranges = calibration.ranges_of(base, network.material)
    return sequential.make(dataclasses.replace(network, base=base, ranges=ranges))


RECIPE = Recipe("equalised", 3, "channels brought to one size, then as sequential", make)
