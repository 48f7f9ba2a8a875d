"""Where two ONNX graphs part: the first node of a converted graph whose output is not the fp32 graph's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pinnace.export.precision import graphs

if TYPE_CHECKING:
    import onnx

# So many samples are compared.
SAMPLES = 4

# Two graphs part where a tensor's error reaches this share of the error of the outputs.
_SHARE = 0.5


@dataclass(frozen=True)
class Divergence:
    """The first node where two graphs part.

    Attributes:
        node: its name in the fp32 graph.
        op: its operator.
        error: relative error of its output: |converted - fp32| / |fp32|.
    """

    node: str
    op: str
    error: float

    def __str__(self) -> str:
        return f"{self.node} ({self.op}), whose output is off by {self.error:.2g} of its size"


def first_divergence(
    fp32: Path, converted: Path, feeds: Mapping[str, npt.NDArray[np.generic]], *, one_by_one: bool = False
) -> Divergence | None:
    """Give both graphs the same inputs, and compare every tensor that both have, in the order of the first.

    Args:
        fp32: the fp32 ONNX file.
        converted: a file that was made from it.
        feeds: inputs by name; first dimension the sample.
        one_by_one: the model takes one sample at a time.

    Returns:
        The first node whose output has reached half of the outputs' error; None where no tensor has.
    """
    import onnx

    one, other = onnx.load(str(fp32)), onnx.load(str(converted))
    produced = set(graphs.float_tensors(other))
    tensors = [name for name in graphs.float_tensors(one) if name in produced]
    stored = _as_stored(other, tensors)
    few = {name: array[:SAMPLES] for name, array in feeds.items()}
    wrong, size = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, 0.0)
    pairs = zip(
        graphs.run_tapped(one, tensors, few, one_by_one=one_by_one),
        graphs.run_tapped(other, list(stored.values()), few, one_by_one=one_by_one),
        strict=True,
    )
    for ours, theirs in pairs:
        for name, value in ours.items():
            reference, answer = np.asarray(value, np.float64), np.asarray(theirs[stored[name]], np.float64)
            wrong[name] += (
                float(((answer - reference) ** 2).sum()) if answer.shape == reference.shape else np.inf
            )
            size[name] += float((reference**2).sum())
    errors = {
        name: float(np.nan_to_num(np.sqrt(wrong[name] / max(size[name], 1e-30)), nan=np.inf))
        for name in tensors
    }
    outputs = [errors[value.name] for value in one.graph.output if value.name in errors]
    limit = _SHARE * min(1.0, max(outputs, default=1.0))
    makers = _makers(one, other)
    for name in tensors:
        if errors[name] >= limit > 0:
            return Divergence(makers[name].name, makers[name].op_type, errors[name])
    return None


def _makers(one: onnx.ModelProto, other: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The node of the first graph that makes each tensor.

    Where a conversion joined several nodes, as a convolution and its ReLU, it is the one whose name was kept.
    """
    named = {node.name: node for node in one.graph.node}
    makers = {name: node for node in one.graph.node for name in node.output}
    kept = {name: named[node.name] for node in other.graph.node for name in node.output if node.name in named}
    return makers | kept


def _as_stored(model: onnx.ModelProto, tensors: list[str]) -> dict[str, str]:
    """What the nodes that follow read of each tensor: where it is quantised, what the integers stand for.

    Before that it may be something else: the clipping of a ReLU is left to the integers' range.
    """
    quantised = {
        node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"
    }
    floats = {
        node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"
    }
    return {name: floats.get(quantised.get(name, ""), name) for name in tensors}
