"""The graph with QuantizeLinear and DequantizeLinear nodes, every weight at its nearest step."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.export.precision import graphs
from pinnace.models.errors import CheckFailed, error_lines

if TYPE_CHECKING:
    import onnx

# ONNX Runtime gives a softmax a zero point whatever it is asked for, and TensorRT takes none.
_NEVER_SYMMETRIC = frozenset({"Softmax"})

# ONNX Runtime has no integer kernel for these, so steps around them are work, and blur what they read.
_NEVER = frozenset({"LayerNormalization", "InstanceNormalization"})

# Operators with a weight, and where they have one a bias, behind their input.
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def prepare(source: Path, target: Path) -> None:
    """Fold constants and infer shapes, as quantisation needs it.

    Raises:
        CheckFailed: the network cannot be prepared.
    """
    try:
        with graphs.onnxruntime_tools():
            from onnxruntime.quantization.shape_inference import quant_pre_process

            # Symbolic shape inference helps transformers only and needs a package more.
            quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
    except Exception as error:  # it runs an optimiser whose errors have classes of their own
        raise CheckFailed(f"the network cannot be prepared for int8: {error_lines(error)[0]}") from error


def quantise(
    base: onnx.ModelProto, found: Any, symmetric: bool, left_out: Collection[str]
) -> onnx.ModelProto:
    """The QDQ graph with some nodes left in fp32."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry

    never = _NEVER | _NEVER_SYMMETRIC if symmetric else _NEVER
    kinds = [kind for kind in QDQRegistry if kind not in never]
    options = {"ActivationSymmetric": True, "QuantizeBias": False} if symmetric else {}
    quantizer = QDQQuantizer(
        copy.deepcopy(base),
        True,  # per channel
        False,  # all eight bits of the weights
        QuantType.QInt8,
        QuantType.QInt8 if symmetric else QuantType.QUInt8,
        found,
        [],
        list(left_out),
        kinds,
        options,
    )
    quantizer.quantize_model()
    model: onnx.ModelProto = quantizer.model.model
    _leave_outputs(model)
    return model


class Requantiser:
    """Quantises a network again with other nodes left in fp32.

    Nearly all of the time of `quantise` goes into the steps of each filter, one after the other. They are the
    same whichever nodes are left out, so they are taken from a graph that is there already.
    """

    def __init__(
        self, base: onnx.ModelProto, found: Any, symmetric: bool, everything: onnx.ModelProto
    ) -> None:
        """Take a network whose nodes are all quantised once.

        Args:
            base: the prepared fp32 graph, as for `quantise`.
            found: the ranges.
            symmetric: activations have zero point 0.
            everything: what `quantise` makes of these with no node left out. Its integers may have been
                replaced since.
        """
        import onnx
        from onnx import helper

        self._found, self._symmetric = found, symmetric
        tensors = {tensor.name: tensor for tensor in base.graph.initializer}
        filters = {
            name
            for node in base.graph.node
            if node.op_type in WEIGHTED
            for name in node.input[1:3]
            if name in tensors and tensors[name].data_type == onnx.TensorProto.FLOAT
        }
        self._numbers = tensors | {tensor.name: tensor for tensor in everything.graph.initializer}
        self._thin = onnx.ModelProto()
        self._thin.CopyFrom(base)
        for tensor in self._thin.graph.initializer:
            if tensor.name in filters:
                # Of one channel there would be no axis.
                shape = [min(dim, 2) for dim in tensor.dims]
                zeros = [0.0] * math.prod(shape)
                tensor.CopyFrom(helper.make_tensor(tensor.name, tensor.data_type, shape, zeros))

    def __call__(self, left_out: Collection[str]) -> onnx.ModelProto:
        """The QDQ graph with some nodes left in fp32."""
        model = quantise(self._thin, self._found, self._symmetric, left_out)
        for tensor in model.graph.initializer:
            if tensor.name in self._numbers:
                tensor.CopyFrom(self._numbers[tensor.name])
        return model


def _leave_outputs(model: onnx.ModelProto) -> None:
    """Take the Q and DQ away from the graph's outputs.

    255 steps for all classes make ties of the best ones, and steps of the common offset of the logits would
    be larger than their differences.
    """
    graph = model.graph
    outputs = {value.name for value in graph.output}
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    for output in outputs:
        dequantise = makers.get(output)
        quantise = None if dequantise is None else makers.get(dequantise.input[0])
        if dequantise is None or quantise is None or quantise.op_type != "QuantizeLinear":
            continue
        plain = quantise.input[0]
        maker = makers.get(plain)
        if maker is None or readers[plain] > 1 or readers[dequantise.input[0]] > 1 or output in readers:
            continue
        maker.output[list(maker.output).index(plain)] = output
        graph.node.remove(dequantise)
        graph.node.remove(quantise)
        used = {name for node in graph.node for name in node.input}
        for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
            graph.initializer.remove(tensor)
