"""Which nodes to leave out of the quantisation, found by measuring on the calibration images."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import numpy as np

from pinnace.export.precision import graphs, qdq
from pinnace.export.precision.base import ConversionInput, Floats
from pinnace.models.progress import Event, Stage

if TYPE_CHECKING:
    import onnx

Quantise = Callable[[Collection[str]], "onnx.ModelProto"]

# Everything is bounded by counts and not by a clock, so that the same export twice gives the same bytes.
IMAGES = 16
MOST_RUNS = 48
_FIRST_ROUND = 32

# Left out is at most this share of the multiplications, so that int8 stays fast.
MOST_WORK = 0.05

# Nothing is left out where the answers lie closer than this to fp32 (relative, squared: 2 %), or for a gain
# smaller than this.
GOOD_ENOUGH = 0.02**2
SMALLEST_GAIN = 0.1

_UNWEIGHTED = frozenset(
    {"Add", "Mul", "AveragePool", "GlobalAveragePool", "ReduceMean", "LayerNormalization"}
)


def nodes_to_leave_out(base: onnx.ModelProto, quantise: Quantise, material: ConversionInput) -> list[str]:
    """Search greedily for a few nodes whose absence brings the answers closer to fp32.

    Neighbours are tried together: first pairs all over the network, then the best pair with what stands
    beside it. A lone node is never tried: ONNX Runtime's optimiser quantises the weights of a float
    convolution between two quantised ones, per tensor, and the answers get worse. Each candidate is
    quantised for real and run in ONNX Runtime.

    Args:
        base: the prepared fp32 graph, shapes inferred.
        quantise: makes the int8 graph without some nodes.
        material: has the calibration images.

    Returns:
        Names of nodes in the order of the graph; often none.
    """
    assert material.images is not None
    images = material.images[:: max(1, len(material.images) // IMAGES)][:IMAGES]
    reference = answers(base, material.input, images)
    tried: dict[tuple[str, ...], float] = {}

    def error_without(names: tuple[str, ...]) -> float:
        if names not in tried:
            material.progress(Event(Stage.FIND_SENSITIVE, done=len(tried) + 1, total=MOST_RUNS))
            tried[names] = relative_error(reference, answers(quantise(names), material.input, images))
        return tried[names]

    work = multiplications(base)
    nodes = list(work)
    allowed = MOST_WORK * sum(work.values())
    chosen: tuple[str, ...] = ()
    error = error_without(chosen)
    candidates = _pairs(nodes)
    while error > GOOD_ENOUGH:
        affordable = [names for names in candidates if sum(work[name] for name in names) <= allowed]
        found = [(error_without(names), names) for names in affordable[: MOST_RUNS - len(tried)]]
        best = min(found, default=(error, chosen))
        if best[0] >= (1 - SMALLEST_GAIN) * error:
            break
        error, chosen = best
        candidates = _larger(nodes, chosen)
    return list(chosen)


def multiplications(base: onnx.ModelProto) -> dict[str, int]:
    """How many multiplications each node that may be left out does for one image, in graph order."""
    shapes = {
        value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for value in [*base.graph.input, *base.graph.value_info, *base.graph.output]
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in base.graph.initializer}
    work = {}
    for node in base.graph.node:
        outputs = math.prod(shapes.get(node.output[0], [1]))
        if node.op_type in qdq.WEIGHTED and len(node.input) > 1:
            weight = shapes.get(node.input[1], [1])
            # A row of outputs (a channel of a convolution) is made with every weight but that one axis.
            last = node.op_type == "MatMul" or (node.op_type == "Gemm" and not _transposed(node))
            rows = weight[-1] if last else weight[0]
            work[node.name] = outputs * math.prod(weight) // max(1, rows)
        elif node.op_type in _UNWEIGHTED:
            work[node.name] = outputs
    return work


def _transposed(node: onnx.NodeProto) -> bool:
    return any(attribute.name == "transB" and attribute.i for attribute in node.attribute)


def _pairs(nodes: list[str]) -> list[tuple[str, ...]]:
    """Neighbours all over the network, in so few runs that no more than `_FIRST_ROUND` are needed."""
    size = max(2, -(-len(nodes) // _FIRST_ROUND))
    stride = 1 if len(nodes) <= _FIRST_ROUND else size
    return [tuple(nodes[start : start + size]) for start in range(0, len(nodes) - 1, stride)]


def _larger(nodes: list[str], chosen: tuple[str, ...]) -> list[tuple[str, ...]]:
    """What was chosen, with one or two of the nodes beside it."""
    first, last = nodes.index(chosen[0]), nodes.index(chosen[-1])
    spans = [
        (first - 1, last),
        (first - 2, last),
        (first, last + 1),
        (first, last + 2),
        (first - 1, last + 1),
    ]
    return [tuple(nodes[a : b + 1]) for a, b in spans if a >= 0 and b < len(nodes)]


def answers(model: onnx.ModelProto, name: str, images: Floats) -> Floats:
    """What a model answers in ONNX Runtime, shape (images, all outputs one behind the other)."""
    session = graphs.session(model)
    outputs = [np.concatenate([o.reshape(1, -1) for o in session.run(None, {name: image[None]})], axis=1)
               for image in images]  # fmt: skip
    return np.concatenate(outputs).astype(np.float32)


def relative_error(reference: Floats, answers: Floats) -> float:
    """Mean over images of |answer - reference|^2 / |reference - its mean|^2; shapes (images, outputs)."""
    return float(relative_errors(reference, answers).mean())


def relative_errors(reference: Floats, answers: Floats) -> Floats:
    """The same of each image."""
    centred = reference - reference.mean(axis=1, keepdims=True)
    scale = np.maximum((centred**2).sum(axis=1), np.finfo(np.float32).tiny)
    errors: Floats = np.nan_to_num(((answers - reference) ** 2).sum(axis=1) / scale, nan=np.inf)
    return errors
