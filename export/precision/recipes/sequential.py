"""`sequential`: layer after layer, each to what the layers before it really give; biases as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinnace.export.precision import sequential
from pinnace.export.precision.recipes.base import CalibratedNetwork, Recipe

if TYPE_CHECKING:
    import onnx


def make(network: CalibratedNetwork) -> onnx.ModelProto:
    """See `pinnace.export.precision.sequential`."""
    return sequential.round_layers(network.base, network.quantised(), network.material)


RECIPE = Recipe("sequential", 2, "layer after layer, with corrected biases", make)
