"""`gptq`: the weights of a filter are rounded together, each layer as if the others were exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinnace.export.precision import gptq
from pinnace.export.precision.recipes.base import CalibratedNetwork, Recipe

if TYPE_CHECKING:
    import onnx


def make(network: CalibratedNetwork) -> onnx.ModelProto:
    """See `pinnace.export.precision.gptq`, whose integers the network brings along."""
    model = network.quantised()
    gptq.put(model, network.integers)
    return model


RECIPE = Recipe("gptq", 1, "the weights of a filter are rounded together", make)
