"""The first nodes of an ONNX graph: what they do to an image before the network proper begins.

The nodes are run, rather than read: exporters write one and the same normalisation in dozens of ways.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pinnace.export.assumptions import Inside, order_of
from pinnace.export.precision import graphs
from pinnace.export.worker.onnx_graph import OnnxGraph
from pinnace.export.worker.quantised_input import InputQuantisation
from pinnace.models.bundle.signature import TensorSpec

if TYPE_CHECKING:
    import onnx

# Where the network proper begins: a layer with weights, or the quantisation of the image.
_LAYERS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "NhwcConv": 1, "FusedConv": 1}
_BEGINS = {*_LAYERS, "QuantizeLinear", "DynamicQuantizeLinear", "MatMul", "Gemm"}

# What gives the same numbers in another order.
_SAME_NUMBERS = ("Transpose", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Pad")

_FIRST_NODES = 16

# What is narrower than this is a signal rather than an image.
_SMALLEST_EDGE = 8

# What the first layer is given for an image of one colour: from its channels' values to one number a channel.
Given: TypeAlias = Callable[[Sequence[float]], npt.NDArray[np.float64]]

# Values are told apart by more than float16 blurs them.
_BLUR = 2e-3

# Of pixels of 0..255, the mean of a data set lies here, and a deviation above that.
_MEANS_OF_PIXELS = (80.0, 160.0)
_LEAST_DEVIATION = 20.0


@dataclass(frozen=True)
class GraphStart:
    """How an image enters a graph, or a network of torch (see `module_start`).

    Attributes:
        layout: `NCHW` or `NHWC`; `NHW` for grey images without a dimension for channels.
        channels: how many; None where the graph does not say.
        inside: the normalisation that it does itself; None for none.
        dtype: of the image, where only what the graph does to it says so; None where the input does.
        of_torch: it is a network of torch and no ONNX file.
        quantised: what the integers of its input stand for, where they are quantised.
    """

    layout: str
    channels: int | None
    inside: Inside | None = None
    dtype: str | None = None
    of_torch: bool = False
    quantised: InputQuantisation | None = None


def read(graph: OnnxGraph, spec: TensorSpec, size: tuple[int, int] = (64, 64)) -> GraphStart | None:
    """Look at how an image enters a graph.

    Args:
        graph: an ONNX file that was parsed.
        spec: its one input, of four dimensions, or of three.
        size: height and width for dimensions that are dynamic.

    Returns:
        None for three dimensions that are not seen to be those of a grey image.
    """
    model = graph.model
    first = _first_layer(model, spec.name)
    channels = None if first is None else _channels(graph, first[0])
    if len(spec.shape) == 3:
        if first is None or not (channels == 1 or _flattens(graph, spec, first[0])) or not _is_wide(spec):
            return None
        shape = [
            dim if isinstance(dim, int) else own for dim, own in zip(spec.shape, (1, *size), strict=True)
        ]
        return GraphStart("NHW", 1, _inside(graph, spec, first[1], shape, None, None))
    layout = layout_of(spec, channels) or ("NHWC" if _turned(model) else "NCHW")
    axis = 1 if layout == "NCHW" else 3
    said = spec.shape[axis]
    channels = said if isinstance(said, int) else channels
    quantised = _quantisation(model, spec.name) if spec.dtype == "int8" else None
    if first is None or channels not in (1, 3):
        return GraphStart(layout, channels, quantised=quantised)
    shape = [dim if isinstance(dim, int) else 1 for dim in spec.shape]
    for place, edge in zip((2, 3) if layout == "NCHW" else (1, 2), size, strict=True):
        shape[place] = shape[place] if isinstance(spec.shape[place], int) else edge
    shape[axis] = channels
    inside = _inside(graph, spec, first[1], shape, axis, quantised)
    return GraphStart(layout, channels, inside, quantised=quantised)


def _quantisation(model: onnx.ModelProto, name: str) -> InputQuantisation | None:
    """What the integers of an input stand for, as the first node that computes with them says it."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                stored[node.output[0]] = attribute.t
    made = {name}
    for node in model.graph.node:
        if not node.input or node.input[0] not in made:
            continue
        if node.op_type in ("DequantizeLinear", "QLinearConv"):
            values = [
                numpy_helper.to_array(stored[each]) for each in node.input[1:3] if each and each in stored
            ]
            if len(values) != len([each for each in node.input[1:3] if each]) or values[0].size != 1:
                return None
            return InputQuantisation(
                float(values[0].ravel()[0]), int(values[1].ravel()[0]) if len(values) > 1 else 0
            )
        if node.op_type not in _SAME_NUMBERS:
            return None
        made.update(node.output)
    return None


def _first_layer(model: onnx.ModelProto, name: str) -> tuple[Any, str] | None:
    """The first node with weights that reads something made of the input, and what it reads."""
    made = {name}
    for node in model.graph.node:
        reads = [value for value in node.input if value in made]
        if not reads:
            continue
        if node.op_type in _BEGINS:
            return node, reads[0]
        made.update(node.output)
    return None


def _channels(graph: OnnxGraph, node: Any) -> int | None:
    """How many channels a convolution reads."""
    model = graph.model
    if node.op_type not in _LAYERS:
        # Behind a quantisation stands the convolution of what was quantised.
        makers = {node.output[0]} if node.output else set()
        for other in model.graph.node:
            if other.op_type in _LAYERS and makers.intersection(other.input):
                return _channels(graph, other)
            if makers.intersection(other.input):
                makers.update(other.output)
        return None
    name = node.input[_LAYERS[node.op_type]]
    made = {other.output[0]: other for other in model.graph.node if other.op_type == "DequantizeLinear"}
    name = made[name].input[0] if name in made else name
    if name in graph.weights:
        dims: list[int] | None = list(graph.weights[name].shape)
    else:
        dims = next((list(tensor.dims) for tensor in model.graph.initializer if tensor.name == name), None)
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return dims[1] * groups if dims is not None and len(dims) == 4 else None


def _flattens(graph: OnnxGraph, spec: TensorSpec, node: Any) -> bool:
    """Whether a product takes each pixel of a grey image for itself."""
    edges = spec.shape[1:]
    if node.op_type not in ("MatMul", "Gemm") or not all(isinstance(edge, int) for edge in edges):
        return False
    name = node.input[1]
    stored = {tensor.name: tuple(tensor.dims) for tensor in graph.model.graph.initializer}
    dims = graph.weights[name].shape if name in graph.weights else stored.get(name, ())
    turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return len(dims) == 2 and dims[1 if turned else 0] == math.prod(map(int, edges))


def _is_wide(spec: TensorSpec) -> bool:
    """Whether height and width can be those of an image, and not of a signal."""
    return all(edge >= _SMALLEST_EDGE for edge in spec.shape[1:] if isinstance(edge, int))


def layout_of(spec: TensorSpec, channels: int | None) -> str | None:
    """`NCHW` or `NHWC`, as the dimensions of an input of four show it; None where they do not.

    Args:
        spec: the input.
        channels: how many channels the first layer reads, where that is known.
    """
    _, first, _, last = spec.shape
    likely = (1, 3) if channels is None else (channels,)
    if first in likely:
        return "NCHW"
    if last in likely:
        return "NHWC"
    for dim, layout in ((first, "NCHW"), (last, "NHWC")):
        if isinstance(dim, str) and (dim.lower() in ("c", "ch") or "chan" in dim.lower()):
            return layout
    return None


def _turned(model: onnx.ModelProto) -> bool:
    """Whether one of the first nodes puts the last dimension before the others."""
    return any(
        node.op_type == "Transpose" and list(attribute.ints) == [0, 3, 1, 2]
        for node in model.graph.node[:_FIRST_NODES]
        for attribute in node.attribute
        if attribute.name == "perm"
    )


def _inside(
    graph: OnnxGraph,
    spec: TensorSpec,
    tensor: str,
    shape: list[int],
    axis: int | None,
    quantised: InputQuantisation | None,
) -> Inside | None:
    """The normalisation between the input and a tensor; None where there is none that is one."""
    if tensor == spec.name:
        return None
    tapped = _until(graph, tensor)
    channels = 1 if axis is None else shape[axis]
    try:
        session = graphs.session(tapped, optimise=False)

        def given(levels: Sequence[float]) -> npt.NDArray[np.float64]:
            image = one_colour(shape, axis, levels, spec.dtype)
            return middle(np.asarray(session.run([tensor], {spec.name: image})[0], np.float64), channels)

        return normalisation_of(given, channels, quantised)
    except Exception:  # ONNX Runtime's errors have classes of their own: then nothing is known of it
        return None


def one_colour(
    shape: Sequence[int], axis: int | None, levels: Sequence[float], dtype: str
) -> npt.NDArray[np.generic]:
    """Images of one colour.

    Args:
        shape: of the images.
        axis: which of its dimensions is the channels; None where there is none.
        levels: the value of each channel.
        dtype: of the images.
    """
    if axis is None:
        return np.full(shape, levels[0], dtype)
    image = np.zeros(shape, dtype)
    for channel, level in enumerate(levels):
        image[(slice(None),) * axis + (channel,)] = level
    return image


def middle(value: npt.NDArray[np.float64], channels: int) -> npt.NDArray[np.float64]:
    """The channels in the middle of the first of some images, whichever dimension they are.

    Args:
        value: the images; those of one channel may be flat.
        channels: of the images that the network was given.

    Raises:
        ValueError: these are no images.
    """
    if value.ndim == 2 and channels == 1:
        return value[0, value.shape[1] // 2 :][:1]
    if value.ndim != 4:
        raise ValueError("the first layer reads no image")
    first = value[0] if value.shape[1] <= value.shape[3] else value[0].transpose(2, 0, 1)
    found: npt.NDArray[np.float64] = first[:, first.shape[1] // 2, first.shape[2] // 2]
    return found


def normalisation_of(
    given: Given, channels: int, quantised: InputQuantisation | None = None
) -> Inside | None:
    """The normalisation between an image and the first layer; None where there is none that is one.

    Args:
        given: what the layer is given for an image of one colour.
        channels: of the image.
        quantised: what the image's integers stand for; the normalisation is then of what they stand for.
    """
    black = given([0.0] * channels)
    steps = [given([float(one == channel) for one in range(channels)]) - black for channel in range(channels)]
    far = given([100.0] * channels) - black
    if not np.isfinite(far).all() or not np.allclose(
        far, 100 * sum(steps), rtol=0.02, atol=_BLUR * max(1.0, float(np.abs(far).max()))
    ):
        return None
    return _as_normalisation(black, steps, quantised)


def _as_normalisation(
    zero: npt.NDArray[np.float64], steps: list[npt.NDArray[np.float64]], quantised: InputQuantisation | None
) -> Inside | None:
    mean, std, order = [], [], []
    for step in steps:
        reached = np.flatnonzero(np.abs(step) > _BLUR * max(1e-3, float(np.abs(step).max())))
        if not len(reached) or any(abs(step[i] - step[reached[0]]) > _BLUR * abs(step[i]) for i in reached):
            return None  # a mixture of channels, or nothing of one
        place = int(reached[0])
        mean.append(float(-zero[place] / step[place]) + 0.0)
        std.append(float(1 / step[place]))
        order.append(place)
    if quantised is not None:
        mean = [quantised.scale * (value - quantised.zero_point) for value in mean]
        std = [quantised.scale * value for value in std]
    plain = all(abs(value) < _BLUR for value in mean) and all(abs(value - 1) < _BLUR for value in std)
    swaps = len(order) == 3 and order[0] > order[2]
    if plain:
        return None
    return Inside(tuple(mean), tuple(std), _takes(mean, std), order_of(mean), swaps)


def _takes(means: list[float], stds: list[float]) -> int | None:
    """255 or 1: the largest pixel of the images that are normalised so; None where it is something else."""
    mean, std = float(np.mean(means)), float(np.mean(stds))
    low, high = _MEANS_OF_PIXELS
    if low <= mean <= high or (abs(mean) < 1 and std >= _LEAST_DEVIATION):
        return 255
    if 0.2 <= mean <= 0.8 and 0.1 <= std <= 1.2:
        return 1
    return 1 if 0 <= mean <= 1 and 0 < std <= 0.02 else None


def _until(graph: OnnxGraph, tensor: str) -> onnx.ModelProto:
    """The part of a graph that makes one tensor."""
    import onnx

    model = graph.model
    makers = {name: index for index, node in enumerate(model.graph.node) for name in node.output}
    wanted, waiting, kept = {tensor}, [tensor], set()
    while waiting:
        index = makers.get(waiting.pop())
        if index is not None and index not in kept:
            kept.add(index)
            waiting += graphs.reads(model.graph.node[index])
            wanted.update(waiting)
    part = onnx.ModelProto()
    part.ir_version = model.ir_version
    part.opset_import.extend(model.opset_import)
    part.functions.extend(model.functions)
    part.graph.name = "start"
    part.graph.node.extend(node for index, node in enumerate(model.graph.node) if index in kept)
    part.graph.initializer.extend(one for one in model.graph.initializer if one.name in wanted)
    part.graph.initializer.extend(
        onnx.TensorProto(name=name, data_type=one.dtype, dims=one.shape, raw_data=bytes(one.tobytes()))
        for name, one in graph.weights.items()
        if name in wanted
    )
    stored = {one.name for one in model.graph.initializer}
    part.graph.input.extend(value for value in model.graph.input if value.name not in stored)
    part.graph.output.append(onnx.ValueInfoProto(name=tensor))
    return graphs.typed(part)
