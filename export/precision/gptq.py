"""Rounding weights to integers so that the outputs, and not the weights, stay close.

Rounding each weight to its nearest step makes errors that add up wherever the inputs of a filter go together:
a filter that answers to edges gets an answer to plain light. So the weights of a filter are rounded one after
the other, and those that are still to come make up for the error so far, as far as the inputs that were seen
on calibration images allow. This is GPTQ (Frantar et al. 2022, arXiv:2210.17323), for convolutions.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pinnace.export.precision import graphs
from pinnace.export.precision.base import ConversionInput
from pinnace.export.precision.layers import Doubles, layers_of
from pinnace.models.progress import Event, Stage

if TYPE_CHECKING:
    import onnx

Rounded = Mapping[str, npt.NDArray[np.int8]]

LARGEST = 127

# So many images are run, and so many places of each are looked at.
_IMAGES = 32
_PLACES = 256

# Added to the diagonal of what is inverted, as a share of its mean: GPTQ's own value.
_DAMPING = 0.01

# So many weights are rounded before what is behind them makes up for all their errors at once.
_AT_ONCE = 64


def rounded(weights: Doubles, scales: Doubles, moments: Doubles) -> Doubles:
    """The weights as whole steps, of the shape of `weights`.

    Args:
        weights: shape (groups, filters of a group, inputs of a filter).
        scales: the step of each filter, shape (groups, filters of a group).
        moments: sum of the outer products of the filters' inputs, shape (groups, inputs, inputs).
    """
    size = weights.shape[2]
    diagonal = np.einsum("gii->gi", moments).mean(axis=1)
    damped = moments + (_DAMPING * diagonal + 1e-12)[:, None, None] * np.eye(size)
    # The upper triangle whose row i says how the later weights make up for an error of weight i.
    upper = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    weights, steps = weights.copy(), np.zeros_like(weights)
    for first in range(0, size, _AT_ONCE):
        end = min(size, first + _AT_ONCE)
        errors = np.zeros((*weights.shape[:2], end - first))
        for index in range(first, end):
            steps[:, :, index] = np.clip(np.round(weights[:, :, index] / scales), -LARGEST, LARGEST)
            error = weights[:, :, index] - steps[:, :, index] * scales
            error /= upper[:, index, index][:, None]
            weights[:, :, index + 1 : end] -= error[:, :, None] * upper[:, None, index, index + 1 : end]
            errors[:, :, index - first] = error
        weights[:, :, end:] -= errors @ upper[:, first:end, end:]
    return steps


def round_weights(base: onnx.ModelProto, quantised: onnx.ModelProto, material: ConversionInput) -> Rounded:
    """Find better integers for the weights of a quantised graph, with the scales that it has.

    Args:
        base: the fp32 graph, with a name for each node.
        quantised: the graph made of it, all weights quantised per filter.
        material: has the calibration images.

    Returns:
        Integers by the name of the initializer; for `put`.
    """
    assert material.images is not None
    layers = layers_of(base, quantised)
    images = material.images[:: max(1, len(material.images) // _IMAGES)][:_IMAGES]
    produced = {name for node in base.graph.node for name in node.output}
    tensors = sorted({layer.input for layer in layers.values()} & produced)
    feeds: dict[str, npt.NDArray[np.generic]] = {material.input: images}
    tapped = graphs.run_tapped(base, tensors, feeds, one_by_one=material.fixed_batch)
    moments = {name: np.zeros((1, 1, 1)) for name in layers}
    for seed, values in enumerate(itertools.chain((feeds,), tapped)):
        for name, layer in layers.items():
            if layer.input in values:
                seen = layer.seen(values[layer.input], _PLACES, seed)
                moments[name] = moments[name] + seen.transpose(0, 2, 1) @ seen
    found = {}
    for number, (name, layer) in enumerate(layers.items(), 1):
        material.progress(Event(Stage.ROUND_WEIGHTS, done=number, total=len(layers)))
        steps = rounded(layer.weights, layer.scales, np.asarray(moments[name], np.float64))
        found[layer.integers] = layer.as_stored(steps)
    return found


def put(model: onnx.ModelProto, found: Rounded) -> None:
    """Replace the integers of a quantised graph, where it has them."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        if tensor.name in found:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(found[tensor.name]), tensor.name))
