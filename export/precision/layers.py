"""Convolutions and matrix products whose weights are constants: what flows in and out, at a few places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

Doubles = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product of the fp32 graph, whose weights are quantised.

    Attributes:
        node: its name, which it keeps in the quantised graph.
        input: the tensor that it reads in the fp32 graph.
        output: the tensor that it makes there, before an activation.
        integers: name of its weights in the quantised graph.
        stored: shape of the weights as they are stored.
        turned: they are stored with the inputs of the filters as the first dimension.
        weights: shape (groups, filters of a group, inputs of a filter).
        scales: the step of each filter, shape (groups, filters of a group).
        window: height and width of the filters; None for a matrix product.
        attributes: of the node.
    """

    node: str
    input: str
    output: str
    integers: str
    stored: tuple[int, ...]
    turned: bool
    weights: Doubles
    scales: Doubles
    window: tuple[int, int] | None
    attributes: Mapping[str, list[int]]

    def seen(self, values: npt.NDArray[Any], places: int, seed: int) -> Values:
        """What the filters see at some places.

        Args:
            values: of `input`, or of what stands for it in the quantised graph.
            places: how many of each image.
            seed: the same seed gives the same places, in `made` too.

        Returns:
            Shape (groups, places, inputs of a filter).
        """
        numbers: Values = np.asarray(values, np.float32)
        if self.window is None:
            rows = numbers.reshape(-1, values.shape[-1])
            return rows[_chosen(len(rows), places * len(numbers), seed)][None]
        pads, strides, dilations = (self.attributes[name] for name in ("pads", "strides", "dilations"))
        if any(pads):
            numbers = np.pad(numbers, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
        spans = [(size - 1) * dilation + 1 for size, dilation in zip(self.window, dilations, strict=True)]
        windows = np.lib.stride_tricks.sliding_window_view(numbers, spans, axis=(2, 3))
        windows = windows[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
        count, _, height, width = windows.shape[:4]
        image, row, column = _places(count, height, width, places, seed)
        found = windows[image, :, row, column]  # (places, channels, window height, window width)
        grouped: Values = found.reshape(len(image), self.weights.shape[0], -1).transpose(1, 0, 2)
        return grouped

    def made(self, values: npt.NDArray[Any], places: int, seed: int) -> Values:
        """What the filters answer at those places, shape (groups, places, filters of a group).

        Args:
            values: of `output`.
            places: as in `seen`.
            seed: as in `seen`.
        """
        numbers: Values = np.asarray(values, np.float32)
        if self.window is None:
            rows = numbers.reshape(-1, values.shape[-1])
            return rows[_chosen(len(rows), places * len(numbers), seed)][None]
        count, _, height, width = numbers.shape
        image, row, column = _places(count, height, width, places, seed)
        found = numbers[image, :, row, column]  # (places, filters)
        grouped: Values = found.reshape(len(image), *self.weights.shape[:2]).transpose(1, 0, 2)
        return grouped

    def as_stored(self, steps: Doubles) -> npt.NDArray[np.int8]:
        """Whole steps of the shape of `weights`, as the quantised graph stores them."""
        filters = steps.reshape(-1, steps.shape[2])
        return (filters.T if self.turned else filters.reshape(self.stored)).astype(np.int8)


def layers_of(base: onnx.ModelProto, quantised: onnx.ModelProto) -> dict[str, Layer]:
    """The layers of a quantised graph, by the names of their nodes, in its order; no weights twice.

    Args:
        base: the fp32 graph, with a name for each node.
        quantised: the graph made of it, weights quantised per filter.
    """
    from onnx import numpy_helper

    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    floats = {tensor.name: numpy_helper.to_array(tensor) for tensor in base.graph.initializer}
    makers = {name: node for node in quantised.graph.node for name in node.output}
    nodes = {node.name: node for node in base.graph.node}
    found: dict[str, Layer] = {}
    taken: set[str] = set()
    for node in quantised.graph.node:
        maker = makers.get(node.input[1]) if len(node.input) > 1 else None
        known = nodes.get(node.name)
        if maker is None or known is None or maker.input[0] not in stored or known.input[1] not in floats:
            continue
        scales = np.asarray(stored[maker.input[1]], np.float64)
        weights = np.asarray(floats[known.input[1]], np.float64)
        layer = layer_of(known, weights, scales, maker.input[0])
        if layer is not None and layer.integers not in taken:
            taken.add(layer.integers)
            found[node.name] = layer
    return found


def layer_of(node: onnx.NodeProto, weights: Doubles, scales: Doubles, integers: str) -> Layer | None:
    """One layer; None for what is not rounded this way."""
    stored = weights.shape
    attributes: dict[str, list[int]] = {a.name: list(a.ints) or [a.i] for a in node.attribute}
    window, turned = None, False
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
        turned = not attributes.get("transB", [0])[0]
        weights = (weights.T if turned else weights)[None]
    else:
        return None
    if scales.size != weights.shape[0] * weights.shape[1]:
        return None
    steps = np.where(scales > 0, scales, 1.0).reshape(weights.shape[:2])
    return Layer(
        node.name, node.input[0], node.output[0], integers, stored, turned, weights, steps, window, attributes
    )


def _places(
    count: int, height: int, width: int, places: int, seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Images, rows and columns."""
    image, place = np.divmod(_chosen(count * height * width, places * count, seed), height * width)
    row, column = np.divmod(place, width)
    return image, row, column


def _chosen(size: int, most: int, seed: int) -> npt.NDArray[np.intp]:
    if size <= most:
        return np.arange(size)
    return np.sort(np.random.default_rng((seed, size)).permutation(size)[:most])
