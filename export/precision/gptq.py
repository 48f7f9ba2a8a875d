"""Rounding weights to integers so that the outputs, and not the weights, stay close.

Rounding each weight to its nearest step makes errors that add up wherever the inputs of a filter go together:
a filter that answers to edges gets an answer to plain light. So the weights of a filter are rounded one after
the other, and those that are still to come make up for the error so far, as far as the inputs that were seen
on calibration images allow. This is GPTQ (Frantar et al. 2022, arXiv:2210.17323), for convolutions.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pinnace.export.precision import graphs
from pinnace.export.precision.base import ConversionInput
from pinnace.models.progress import Event, Stage

if TYPE_CHECKING:
    import onnx

Doubles = npt.NDArray[np.float64]
Rounded = dict[str, npt.NDArray[np.int8]]

LARGEST = 127

# So many images are run, and so many places of each are looked at.
_IMAGES = 32
_PLACES = 256

# Added to the diagonal of what is inverted, as a share of its mean: GPTQ's own value.
_DAMPING = 0.01


@dataclass
class _Layer:
    """A convolution or matrix product whose weights are rounded.

    Attributes:
        tensor: what it reads.
        weights: shape (groups, filters of a group, inputs of a filter).
        scales: the step of each filter, shape (groups, filters of a group).
        window: height and width of the filters; None for a matrix product.
        attributes: of the node.
        moments: sum of the outer products of its inputs, shape (groups, inputs, inputs).
    """

    tensor: str
    weights: Doubles
    scales: Doubles
    window: tuple[int, int] | None
    attributes: Mapping[str, list[int]]
    moments: Doubles

    def see(self, values: npt.NDArray[np.generic], rng: np.random.Generator) -> None:
        """Add what flows into the layer, at a few places."""
        inputs = self._inputs(np.asarray(values, np.float64), rng)
        self.moments += inputs.transpose(0, 2, 1) @ inputs

    def _inputs(self, values: Doubles, rng: np.random.Generator) -> Doubles:
        """Shape (groups, places, inputs of a filter)."""
        if self.window is None:
            rows = values.reshape(-1, values.shape[-1])
            chosen = rng.permutation(len(rows))[: _PLACES * len(values)]
            return rows[np.sort(chosen)][None]
        pads, strides, dilations = (self.attributes[name] for name in ("pads", "strides", "dilations"))
        padded = np.pad(values, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
        spans = [(size - 1) * dilation + 1 for size, dilation in zip(self.window, dilations, strict=True)]
        windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=(2, 3))
        windows = windows[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
        count, _, height, width = windows.shape[:4]
        places = np.sort(rng.permutation(count * height * width)[: _PLACES * count])
        image, place = np.divmod(places, height * width)
        row, column = np.divmod(place, width)
        found = windows[image, :, row, column]  # (places, channels, window height, window width)
        grouped: Doubles = found.reshape(len(places), self.weights.shape[0], -1).transpose(1, 0, 2)
        return grouped

    def rounded(self) -> Doubles:
        """The weights as whole steps, of the shape of `weights`."""
        size = self.weights.shape[2]
        diagonal = np.einsum("gii->gi", self.moments).mean(axis=1)
        damped = self.moments + (_DAMPING * diagonal + 1e-12)[:, None, None] * np.eye(size)
        # The upper triangle whose row i says how the later weights make up for an error of weight i.
        upper = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
        weights, steps = self.weights.copy(), np.zeros_like(self.weights)
        for index in range(size):
            steps[:, :, index] = np.clip(np.round(weights[:, :, index] / self.scales), -LARGEST, LARGEST)
            error = weights[:, :, index] - steps[:, :, index] * self.scales
            error /= upper[:, index, index][:, None]
            weights[:, :, index + 1 :] -= error[:, :, None] * upper[:, None, index, index + 1 :]
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
    from onnx import numpy_helper

    assert material.images is not None
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    floats = {tensor.name: numpy_helper.to_array(tensor) for tensor in base.graph.initializer}
    makers = {name: node for node in quantised.graph.node for name in node.output}
    nodes = {node.name: node for node in base.graph.node}
    layers: dict[str, _Layer] = {}
    for node in quantised.graph.node:
        maker = makers.get(node.input[1]) if len(node.input) > 1 else None
        known = nodes.get(node.name)
        if maker is None or known is None or maker.input[0] not in stored or known.input[1] not in floats:
            continue
        scales = np.asarray(stored[maker.input[1]], np.float64)
        layer = _layer(known, np.asarray(floats[known.input[1]], np.float64), scales)
        if layer is not None and maker.input[0] not in layers:
            layers[maker.input[0]] = layer
    rng = np.random.default_rng(0)
    images = material.images[:: max(1, len(material.images) // _IMAGES)][:_IMAGES]
    produced = {name for node in base.graph.node for name in node.output}
    tensors = sorted({layer.tensor for layer in layers.values()} & produced)
    feeds: dict[str, npt.NDArray[np.generic]] = {material.input: images}
    tapped = graphs.run_tapped(base, tensors, feeds, one_by_one=material.fixed_batch)
    for values in itertools.chain((feeds,), tapped):
        for layer in layers.values():
            if layer.tensor in values:
                layer.see(values[layer.tensor], rng)
    found: Rounded = {}
    for number, (name, layer) in enumerate(layers.items(), 1):
        material.progress(Event(Stage.ROUND_WEIGHTS, done=number, total=len(layers)))
        steps = layer.rounded()
        shape = stored[name].shape
        filters = steps.reshape(-1, steps.shape[2])
        turned = layer.window is None and filters.shape != shape
        found[name] = (filters.T if turned else filters.reshape(shape)).astype(np.int8)
    return found


def put(model: onnx.ModelProto, found: Rounded) -> None:
    """Replace the integers of a quantised graph, where it has them."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        if tensor.name in found:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(found[tensor.name]), tensor.name))


def _layer(node: onnx.NodeProto, weights: Doubles, scales: Doubles) -> _Layer | None:
    """A layer without moments yet; None for what is not rounded this way."""
    attributes: dict[str, list[int]] = {a.name: list(a.ints) or [a.i] for a in node.attribute}
    window = None
    if node.op_type == "Conv" and weights.ndim == 4:
        if any(a.name == "auto_pad" and a.s not in (b"", b"NOTSET") for a in node.attribute):
            return None
        attributes = {"pads": [0] * 4, "strides": [1, 1], "dilations": [1, 1]} | attributes
        window = (weights.shape[2], weights.shape[3])
        groups = attributes.get("group", [1])[0]
        weights = weights.reshape(groups, weights.shape[0] // groups, -1)
    elif node.op_type in ("Gemm", "MatMul") and weights.ndim == 2:
        if attributes.get("transA", [0])[0]:
            return None
        weights = (weights if attributes.get("transB", [0])[0] else weights.T)[None]
    else:
        return None
    if scales.size != weights.shape[0] * weights.shape[1]:
        return None
    steps = np.where(scales > 0, scales, 1.0).reshape(weights.shape[:2])
    moments = np.zeros((weights.shape[0], weights.shape[2], weights.shape[2]))
    return _Layer(node.input[0], weights, steps, window, attributes, moments)
