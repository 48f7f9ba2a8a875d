"""Moving the sizes of channels from activations into weights, so that one step suits all channels.

An activation has one step for all its channels. Where one channel reaches to 20 and another to 0.2, the
second keeps two bits. Between two layers with nothing but sums and functions that keep the scale of a channel
(ReLU, pooling), a channel can be divided by any number where it is made if the weights that read it are
multiplied by that; behind a LayerNormalization, its own scale and bias can be. The network answers the same.
This is cross-layer equalisation (Nagel et al. 2019, arXiv:1906.04721, 4.1) and SmoothQuant
(arXiv:2211.10438), by the ranges of activations alone: weights have a step for each filter, and are rounded
together.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pinnace.export.precision import graphs
from pinnace.export.precision.base import ConversionInput, Floats

if TYPE_CHECKING:
    import onnx

# So many images show how far a channel reaches.
_IMAGES = 24

# A channel that reaches less far than this share of the furthest is scaled as if it did.
_SMALLEST = 1e-3

# What a channel's scale passes through: operators on each channel alone, with f(a x) = a f(x) for a > 0.
_KEEPS_SCALE = frozenset({"Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity", "Flatten"})


@dataclass
class _Group:
    """Tensors whose channels are scaled together.

    Attributes:
        tensors: their names.
        makers: layers and normalisations that make them.
        readers: layers that read them.
        axis: of the channels: 1 behind convolutions, -1 behind normalisations.
    """

    tensors: list[str] = field(default_factory=list)
    makers: list[onnx.NodeProto] = field(default_factory=list)
    readers: list[onnx.NodeProto] = field(default_factory=list)
    axis: int = 1


def equalise(base: onnx.ModelProto, material: ConversionInput) -> tuple[onnx.ModelProto, int]:
    """A network that answers the same, and how many groups of tensors were scaled in it.

    Args:
        base: the fp32 graph, with a name for each node. It is not changed.
        material: has the calibration images.
    """
    assert material.images is not None
    model = copy.deepcopy(base)
    found = [*_between_layers(model), *_behind_normalisations(model)]
    images = material.images[:: max(1, len(material.images) // _IMAGES)][:_IMAGES]
    axes = {name: group.axis for group in found for name in group.tensors}
    reach: dict[str, Floats] = {}
    feeds: dict[str, npt.NDArray[np.generic]] = {material.input: images}
    for values in graphs.run_tapped(model, sorted(axes), feeds, one_by_one=material.fixed_batch):
        for name, value in values.items():
            channels = np.abs(np.moveaxis(value, axes[name], 0))
            largest = channels.reshape(len(channels), -1).max(axis=1)
            reach[name] = np.maximum(reach.get(name, np.float32(0)), largest)
    done = 0
    for group in found:
        sizes = [reach[name] for name in group.tensors]
        if len({len(size) for size in sizes}) == 1 and sizes[0].max() > 0:
            done += _scale(model, group, np.max(sizes, axis=0))
    return model, done


def _scale(model: onnx.ModelProto, group: _Group, reach: Floats) -> bool:
    """Divide the channels of a group by how far they reach."""
    from onnx import numpy_helper

    reach = np.maximum(reach, reach.max() * _SMALLEST).astype(np.float64)
    factors = reach / np.exp(np.log(reach).mean())
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    changes: list[tuple[str, npt.NDArray[np.float64]]] = []
    for node in group.makers:
        rank = len(stored[node.input[1]].dims)
        filters = -1 if _reads_rows(node) else 0
        changes.append((node.input[1], 1 / _along(factors, rank, filters)))
        if len(node.input) > 2 and node.input[2]:
            changes.append((node.input[2], 1 / factors))
    for node in group.readers:
        rank = len(stored[node.input[1]].dims)
        depthwise = node.op_type == "Conv" and _integer(node, "group", 1) > 1
        axis = 0 if depthwise or _reads_rows(node) else 1
        changes.append((node.input[1], _along(factors, rank, axis)))
    for name, change in changes:
        if change.ndim != len(stored[name].dims) or not _fits(change.shape, stored[name].dims):
            return False
    for name, change in changes:
        value = (numpy_helper.to_array(stored[name]) * change).astype(np.float32)
        stored[name].CopyFrom(numpy_helper.from_array(value, name))
    return True


def _between_layers(model: onnx.ModelProto) -> list[_Group]:
    """Tensors between convolutions (and fully connected layers) whose channels nothing else looks at."""
    constants, readers = _constants(model), _readers(model)
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        parents.setdefault(name, name)
        while parents[name] != name:
            name = parents[name]
        return name

    closed = {value.name for value in [*model.graph.input, *model.graph.output]}
    for node in model.graph.node:
        flows = [name for name in node.input if name and name not in constants]
        if node.op_type == "Add" and len(flows) == 2:
            for name in flows:
                parents[root(name)] = root(node.output[0])
        elif node.op_type in _KEEPS_SCALE:
            parents[root(flows[0])] = root(node.output[0])
        elif node.op_type in ("Conv", "Gemm") and _own(node, constants, readers):
            # A group of channels that is neither all of them nor one reads several of them with one weight.
            if node.op_type == "Conv" and not _depthwise(node, constants) and _integer(node, "group", 1) > 1:
                closed.update(node.input[:1])
        else:
            closed.update([*graphs.reads(node), *node.output])
    groups: dict[str, _Group] = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            groups.setdefault(root(node.output[0]), _Group()).makers.append(node)
            groups.setdefault(root(node.input[0]), _Group()).readers.append(node)
    for name in list(parents):
        if root(name) in groups:
            groups[root(name)].tensors.append(name)
    return [
        group for group in groups.values()
        if group.makers and group.readers and group.tensors and not closed.intersection(group.tensors)
    ]  # fmt: skip


def _behind_normalisations(model: onnx.ModelProto) -> list[_Group]:
    """What LayerNormalizations make, where nothing but matrix products with constants reads it."""
    constants, readers = _constants(model), _readers(model)
    outputs = {value.name for value in model.graph.output}
    groups = []
    for node in model.graph.node:
        if node.op_type != "LayerNormalization" or not _own(node, constants, readers):
            continue
        products = readers.get(node.output[0], [])
        plain = _integer(node, "axis", -1) == -1 or len(constants[node.input[1]].dims) == 1
        if plain and products and node.output[0] not in outputs and all(
            product.op_type in ("MatMul", "Gemm")
            and product.input[0] == node.output[0]
            and _own(product, constants, readers)
            for product in products
        ):  # fmt: skip
            groups.append(_Group([node.output[0]], [node], products, axis=-1))
    return groups


def _constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _readers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in graphs.reads(node):
            readers.setdefault(name, []).append(node)
    return readers


def _own(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], readers: dict[str, list[onnx.NodeProto]]
) -> bool:
    """Whether a node's weights and bias are constants that it alone reads, and it is a plain one."""
    names = [name for name in node.input[1:] if name]
    plain = node.op_type != "Gemm" or not (
        _integer(node, "transA", 0) or any(a.name in ("alpha", "beta") and a.f != 1 for a in node.attribute)
    )
    return plain and bool(names) and all(name in constants and len(readers[name]) == 1 for name in names)


def _depthwise(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    dims = constants[node.input[1]].dims
    return bool(_integer(node, "group", 1) == dims[0] and dims[1] == 1)


def _reads_rows(node: onnx.NodeProto) -> bool:
    """Whether the first dimension of a node's weights is its inputs, and the last its outputs."""
    return node.op_type == "MatMul" or (node.op_type == "Gemm" and not _integer(node, "transB", 0))


def _integer(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def _along(factors: npt.NDArray[np.float64], rank: int, axis: int) -> npt.NDArray[np.float64]:
    """Factors that lie along one dimension of so many."""
    shape = [1] * rank
    shape[axis] = len(factors)
    return factors.reshape(shape)


def _fits(shape: tuple[int, ...], dims: Sequence[int]) -> bool:
    return all(size in (1, dim) for size, dim in zip(shape, dims, strict=True))
