"""Rounding layer after layer, each to what really reaches it, with the bias that makes up for the rest.

`gptq` rounds every layer as if all others were exact. Here the quantised graph is run from its beginning:
each layer sees what the layers before it make of the calibration images, activations in 8 bits included. From
that follow its integers, by GPTQ, and the bias with which it answers as in fp32 in the mean (Nagel et al.
2019, arXiv:1906.04721, 4.2).

Fitting the float weights as well, by least squares (as GPTAQ, arXiv:2504.02692, does for language models),
was tried on EfficientNet-Lite0 with views of 20 photographs: the squared error was 0.002 on those and 0.010
on views of others, where it is 0.005 without.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pinnace.export.precision import gptq, graphs
from pinnace.export.precision.base import ConversionInput, Floats
from pinnace.export.precision.layers import Doubles, Layer, Values, layers_of
from pinnace.export.precision.walk import Walk
from pinnace.models.progress import Event, Stage

if TYPE_CHECKING:
    import onnx

# So many images are run.
IMAGES = 48

# Of each layer so many places are looked at for each weight of a filter, within these bounds for each image.
_PLACES_FOR_EACH = 12
_FEWEST_PLACES, _MOST_PLACES = 16, 128

# The memory that one tensor of all images may take; larger inputs get fewer images.
_MOST_PIXELS = IMAGES * 3 * 256 * 256


def round_layers(
    base: onnx.ModelProto, quantised: onnx.ModelProto, material: ConversionInput
) -> onnx.ModelProto:
    """Give a quantised graph better integers and biases, with the scales that it has.

    Args:
        base: the fp32 graph, with a name for each node.
        quantised: the graph made of it, weights quantised per filter. It is not changed.
        material: has the calibration images.
    """
    assert material.images is not None
    model = copy.deepcopy(quantised)
    graphs.sort_nodes(model)
    layers = layers_of(base, model)
    images = _some(material.images)
    # The places of a chunk must be the same on either way, so the chunks are.
    size = 1 if material.fixed_batch else graphs.SAMPLES_AT_ONCE
    wanted = _wanted(base, layers, images, material)
    walk = Walk(model, material.input, [images[i : i + size] for i in range(0, len(images), size)])
    done = 0
    for node in walk:
        layer = layers.get(node.name)
        if layer is None or node.input[0] not in walk.values:
            continue
        done += 1
        material.progress(Event(Stage.ROUND_WEIGHTS, done=done, total=len(layers)))
        seen = [
            layer.seen(values, _places(layer, images), seed)
            for seed, values in enumerate(walk.values[node.input[0]])
        ]
        bias = _stored_bias(walk, node)
        _round(walk, layer, np.concatenate(seen, axis=1), np.concatenate(wanted.pop(node.name), axis=1), bias)
    return model


def _some(images: Floats) -> Floats:
    most = max(8, min(IMAGES, _MOST_PIXELS // max(1, images[0].size)))
    return images[:: max(1, len(images) // most)][:most]


def _places(layer: Layer, images: Floats) -> int:
    """How many places of each image are looked at."""
    wanted: int = _PLACES_FOR_EACH * layer.weights.shape[2] // len(images)
    return min(max(wanted, _FEWEST_PLACES), _MOST_PLACES)


def _wanted(
    base: onnx.ModelProto, layers: dict[str, Layer], images: Floats, material: ConversionInput
) -> dict[str, list[Values]]:
    """What each layer answers in fp32, by the name of its node, for each chunk."""
    tensors = {layer.output: layer for layer in layers.values()}
    wanted: dict[str, list[Values]] = {name: [] for name in layers}
    tapped = graphs.run_tapped(base, list(tensors), {material.input: images}, one_by_one=material.fixed_batch)
    for values in tapped:
        for name, value in values.items():
            layer = tensors[name]
            wanted[layer.node].append(layer.made(value, _places(layer, images), len(wanted[layer.node])))
    return wanted


def _stored_bias(walk: Walk, node: onnx.NodeProto) -> tuple[str, float | Doubles] | None:
    """The constant that holds a layer's own bias, and the steps that it counts in."""
    if len(node.input) < 3 or not node.input[2]:
        return None
    maker = walk.maker(node.input[2])
    if maker is None:
        return (node.input[2], 1.0) if walk.is_own(node.input[2]) else None
    if maker.op_type != "DequantizeLinear" or not walk.is_own(maker.input[0]):
        return None
    return maker.input[0], np.asarray(walk.constant(maker.input[1]), np.float64)


def _round(
    walk: Walk, layer: Layer, seen: Values, wanted: Values, bias: tuple[str, float | Doubles] | None
) -> None:
    """Replace the integers and the bias of one layer.

    Args:
        walk: the graph.
        layer: the layer.
        seen: what reaches it in the quantised graph, shape (groups, places, inputs of a filter).
        wanted: what it should answer there, shape (groups, places, filters of a group).
        bias: where its bias is kept, and in which steps.
    """
    middle_in, middle_out = (
        each.mean(axis=1, keepdims=True, dtype=np.float64) if bias else np.zeros((1, 1, 1))
        for each in (seen, wanted)
    )
    inputs = (seen - middle_in).astype(np.float32)
    moments = np.asarray(inputs.transpose(0, 2, 1) @ inputs, np.float64)
    steps = gptq.rounded(layer.weights, layer.scales, moments)
    walk.replace(layer.integers, layer.as_stored(steps))
    if bias:
        name, step = bias
        answered = middle_in @ (steps * layer.scales[:, :, None]).transpose(0, 2, 1)
        values = (middle_out - answered).reshape(-1) / step
        walk.replace(name, _like(values, walk.constant(name)))


def _like(values: Doubles, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Values of the type of what they replace, whole ones where that is an integer."""
    if np.issubdtype(stored.dtype, np.integer):
        info = np.iinfo(stored.dtype)
        values = np.clip(np.round(values), info.min, info.max)
    return values.astype(stored.dtype)
