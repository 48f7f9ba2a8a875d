"""Outputs of ONNX files that are no tensors of numbers: lists of names with scores, and texts.

Converters of Core ML, WinML's tools, Custom Vision and scikit-learn let a classifier end in `ZipMap`, which
gives each image a map from class names to scores, and give the best name as a text beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pinnace.export.precision import graphs

if TYPE_CHECKING:
    import onnx


_AXES_ARE_AN_INPUT = 13


@dataclass(frozen=True)
class Replaced:
    """What became of outputs that a bundle cannot hold.

    Attributes:
        labels: the class names that the file's `ZipMap` had, or None.
        notes: sentences for the user.
    """

    labels: tuple[str, ...] | None
    notes: tuple[str, ...]


def keep_tensors(model: onnx.ModelProto, unfit: set[str]) -> Replaced | None:
    """Let a model give tensors alone, and change it so; None where there are none that it could give.

    Args:
        model: is changed.
        unfit: names of the outputs that are no tensors of numbers.
    """
    from onnx import TensorProto, helper

    makers = {name: node for node in model.graph.node for name in node.output}
    labels: tuple[str, ...] | None = None
    kept, notes, left_out = [], [], []
    for output in model.graph.output:
        if output.name not in unfit:
            kept.append(output)
            continue
        maker = makers.get(output.name)
        if maker is None or maker.op_type != "ZipMap":
            left_out.append(output.name)
            continue
        scores = maker.input[0]
        if all(other.name != scores for other in model.graph.output):
            kept.append(helper.make_tensor_value_info(scores, TensorProto.FLOAT, None))
        labels = _names(maker)
        notes.append(
            f"the output {output.name} gives names with scores (ZipMap): in the bundle it is the scores "
            f"alone, {scores}, and the {len(labels)} names are its labels"
        )
    if not kept:
        return None
    if left_out:
        notes.append(f"outputs that are no tensors of numbers were left out: {', '.join(left_out)}")
    del model.graph.output[:]
    model.graph.output.extend(kept)
    _prune(model.graph)
    return Replaced(labels, tuple(notes))


def dequantise(model: onnx.ModelProto) -> list[str]:
    """Give what the whole numbers of outputs stand for, where a graph ends in `QuantizeLinear`.

    TensorFlow Lite's networks of int8 end so.

    Args:
        model: is changed; the outputs are called `NAME_values` then.

    Returns:
        The names that the outputs had.
    """
    from onnx import TensorProto, helper

    makers = {name: node for node in model.graph.node for name in node.output}
    changed = []
    for output in model.graph.output:
        maker = makers.get(output.name)
        if maker is None or maker.op_type != "QuantizeLinear":
            continue
        inner, output.name = output.name, f"{output.name}_values"
        node = helper.make_node("DequantizeLinear", [inner, *maker.input[1:]], [output.name])
        node.attribute.extend(each for each in maker.attribute if each.name in ("axis", "block_size"))
        model.graph.node.append(node)
        output.type.tensor_type.elem_type = TensorProto.FLOAT
        changed.append(inner)
    return changed


def take_inner(model: onnx.ModelProto, name: str) -> bool:
    """Let a model give one of the tensors inside of it and nothing else; False where it has none such.

    Args:
        model: is changed.
        name: of the tensor.
    """
    import onnx

    if not any(name in node.output for node in model.graph.node):
        return False
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    _prune(model.graph)
    graphs.typed(model)
    return True


def add_batch(model: onnx.ModelProto, names: set[str]) -> None:
    """Give outputs that hold the answer to one image, and no batch, a first dimension of 1.

    Args:
        model: is changed; the outputs are called `NAME_row` then.
        names: the outputs.
    """
    from onnx import helper, numpy_helper

    axes = f"axes_of_{min(names)}"
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    as_input = opset >= _AXES_ARE_AN_INPUT
    if as_input:
        model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), axes))
    for output in model.graph.output:
        if output.name in names:
            inner, output.name = output.name, f"{output.name}_row"
            node = helper.make_node("Unsqueeze", [inner, axes] if as_input else [inner], [output.name])
            if not as_input:
                node.attribute.append(helper.make_attribute("axes", [0]))
            model.graph.node.append(node)
            output.type.tensor_type.ClearField("shape")


def _names(node: onnx.NodeProto) -> tuple[str, ...]:
    for attribute in node.attribute:
        if attribute.name == "classlabels_strings" and attribute.strings:
            return tuple(name.decode("utf-8", errors="replace") for name in attribute.strings)
        if attribute.name == "classlabels_int64s" and attribute.ints:
            return tuple(map(str, attribute.ints))
    return ()


def _prune(graph: onnx.GraphProto) -> None:
    """Leave out what no output needs: other runtimes than ONNX Runtime know no texts."""
    needed = {output.name for output in graph.output}
    nodes = []
    for node in reversed(graph.node):  # their order is that of computing
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(graphs.reads(node))
    copies = [type(node).FromString(node.SerializeToString()) for node in reversed(nodes)]
    del graph.node[:]
    graph.node.extend(copies)
    stored = [tensor for tensor in graph.initializer if tensor.name in needed]
    kept = [type(tensor).FromString(tensor.SerializeToString()) for tensor in stored]
    del graph.initializer[:]
    graph.initializer.extend(kept)
