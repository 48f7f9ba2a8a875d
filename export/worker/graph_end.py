"""What a written file computes last: Softmax, Sigmoid, a linear layer, pooling. Weights are not looked at."""

from __future__ import annotations

import abc
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.export.request import GraphEnd, OperatorKind
from pinnace.models.bundle.signature import Signature
from pinnace.models.variant_name import VariantName

if TYPE_CHECKING:
    import onnx


_SAME_VALUES = {
    *("reshape", "flatten", "identity", "cast", "squeeze", "unsqueeze", "transpose", "dropout", "gather"),
    *("quantizelinear", "dequantizelinear", "slice", "view", "_unsafe_view", "to", "_to_copy", "type_as"),
    *(
        "contiguous",
        "detach",
        "clone",
        "permute",
        "select",
        "alias",
        "t",
        "feature_dropout",
        "lift_fresh_copy",
    ),
}
_KINDS: dict[str, OperatorKind] = {
    **dict.fromkeys(("softmax", "_softmax", "qlinearsoftmax"), "softmax"),
    **dict.fromkeys(("logsoftmax", "log_softmax", "_log_softmax"), "log_softmax"),
    **dict.fromkeys(("sigmoid", "hardsigmoid", "qlinearsigmoid"), "sigmoid"),
    **dict.fromkeys(
        (
            *("gemm", "matmul", "fusedgemm", "fusedmatmul", "conv", "einsum", "qgemm", "qlinearmatmul"),
            *("qlinearconv", "matmulinteger", "convinteger", "dynamicquantizematmul", "linear", "addmm"),
            *("convolution", "conv2d", "_convolution", "mm", "bmm", "baddbmm", "matmulnbits"),
        ),
        "linear",
    ),
    **dict.fromkeys(
        (
            *("globalaveragepool", "globalmaxpool", "averagepool", "maxpool", "reducemean", "reducemax"),
            *("adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d", "mean", "max_pool2d"),
            *("avg_pool2d", "amax", "qlinearglobalaveragepool", "max_pool2d_with_indices"),
        ),
        "pooling",
    ),
    **dict.fromkeys(
        (
            *(
                "layernormalization",
                "layer_norm",
                "native_layer_norm",
                "skiplayernormalization",
                "batch_norm",
            ),
            *("batchnormalization", "instancenormalization", "groupnormalization", "group_norm"),
            *("lpnormalization", "rmsnormalization", "rms_norm", "simplifiedlayernormalization"),
            *("_native_batch_norm_legit_no_training",),
        ),
        "normalisation",
    ),
    **dict.fromkeys(
        (
            *("relu", "leakyrelu", "prelu", "elu", "selu", "gelu", "tanh", "softplus", "hardswish", "celu"),
            *("swish", "silu", "mish", "leaky_relu", "relu_", "silu_", "hardtanh", "hardtanh_", "clip"),
            *("fastgelu", "biasgelu", "hardswish_"),
        ),
        "activation",
    ),
}


class Node(abc.ABC):
    """An operator of a graph, or a constant, or an input."""

    op: str

    @abc.abstractmethod
    def inputs(self) -> Sequence[Node]:
        """What it is computed from."""

    @property
    @abc.abstractmethod
    def is_constant(self) -> bool:
        """Whether it is the same for every image."""

    @property
    def name(self) -> str:
        """Its operator in small letters."""
        return self.op.lower()

    @property
    def tensor(self) -> str | None:
        """The name of what it gives, where the file has one."""
        return None


def graph_ends(folder: Path, files: dict[VariantName, str], signature: Signature) -> dict[str, GraphEnd]:
    """What computes each output, by name, from the first fp32 file that can be read; nothing where none can.

    Args:
        folder: where the files are.
        files: file name of each variant.
        signature: the outputs.
    """
    readers: dict[VariantName, Callable[[Path, Signature], dict[str, Node]]] = {
        VariantName("onnx", "fp32"): _onnx_outputs,
        VariantName("torchscript", "fp32"): _script_outputs,
        VariantName("pt2", "fp32"): _program_outputs,
    }
    for variant, reader in readers.items():
        if variant in files:
            try:
                return {
                    name: end_of(node) for name, node in reader(folder / files[variant], signature).items()
                }
            except Exception as error:  # less is known then, and the note says what was assumed
                logging.getLogger(__name__).warning("the end of %s cannot be seen: %r", variant, error)
    return {}


def end_of(node: Node) -> GraphEnd:
    """Walk back from an output to the operator that computes its values."""
    read = next((one for one in _through(node).inputs() if not one.is_constant), None)
    if read is not None and read.name == "quantizelinear":
        read = read.inputs()[0]
    return replace(_end_of(node), reads=None if read is None else read.tensor)


def _end_of(node: Node) -> GraphEnd:
    while True:
        inputs = node.inputs()
        variable = [one for one in inputs if not one.is_constant]
        if node.name in _SAME_VALUES and inputs:
            node = inputs[0]
        elif node.name == "log" and inputs and _through(inputs[0]).name in ("softmax", "_softmax"):
            return GraphEnd("log_softmax", "LogSoftmax")
        elif node.name in ("mul", "div") and len(variable) == 1 and variable[0] is inputs[0]:
            node = inputs[0]  # by a scale
        elif node.name in ("add", "sub", "add_", "sub_") and len(variable) == 1:
            # A bias; of a normalisation, where that is written out as its operators.
            kind: OperatorKind = "normalisation" if _is_normalised(variable[0]) else "linear"
            return GraphEnd(kind, node.op)
        elif node.name == "div" and len(inputs) == 2 and _is_norm(inputs[1]):
            return GraphEnd("normalisation", node.op)
        else:
            kind = _KINDS.get(node.name, "other")
            if kind == "pooling" and _is_of_a_classifier(inputs):
                kind = "pooled_convolution"
            return GraphEnd(kind, node.op)


def _through(node: Node) -> Node:
    while node.name in _SAME_VALUES and node.inputs():
        node = node.inputs()[0]
    return node


def _is_of_a_classifier(inputs: Sequence[Node]) -> bool:
    """Whether what is pooled comes straight from a convolution, as in SqueezeNet: one channel a class."""
    if not inputs:
        return False
    node = _through(inputs[0])
    if node.name in ("relu", "relu_") and node.inputs():
        node = _through(node.inputs()[0])
    return node.name in ("conv", "conv2d", "_convolution", "convolution", "qlinearconv")


def _is_normalised(node: Node) -> bool:
    """Whether this is x / sqrt(...), times a weight perhaps."""
    while node.name == "mul" and any(one.is_constant for one in node.inputs()):
        node = next((one for one in node.inputs() if not one.is_constant), node.inputs()[0])
    inputs = node.inputs()
    if node.name == "div" and len(inputs) == 2:
        return _through(inputs[1]).name == "sqrt"
    return node.name == "mul" and any(_through(one).name in ("reciprocal", "rsqrt") for one in inputs)


def _is_norm(node: Node) -> bool:
    """Whether this is a norm, made no smaller than some epsilon perhaps."""
    node = _through(node)
    while node.name in ("clip", "max", "expand", "clamp_min", "expand_as", "add") and node.inputs():
        node = _through(node.inputs()[0])
    return node.name in ("reducel2", "norm", "linalg_vector_norm", "sqrt", "frobenius_norm")


class _OnnxNode(Node):
    def __init__(self, name: str, makers: dict[str, onnx.NodeProto], constants: set[str]) -> None:
        self._name, self._makers, self._constants = name, makers, constants
        maker = makers.get(name)
        self.op = "" if maker is None else maker.op_type

    @property
    def tensor(self) -> str:
        return self._name

    def inputs(self) -> Sequence[Node]:
        maker = self._makers.get(self._name)
        names = [] if maker is None else [name for name in maker.input if name]
        return [_OnnxNode(name, self._makers, self._constants) for name in names]

    @property
    def is_constant(self) -> bool:
        if self._name in self._constants or self.op == "Constant":
            return True
        return self.op in ("DequantizeLinear", "Identity", "Cast") and self.inputs()[0].is_constant


def _onnx_outputs(path: Path, signature: Signature) -> dict[str, Node]:
    import onnx
    import onnx.inliner

    model = onnx.load(str(path), load_external_data=False)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    makers = {name: node for node in model.graph.node for name in node.output if name}
    constants = {tensor.name for tensor in model.graph.initializer}
    return {name: _OnnxNode(name, makers, constants) for name in signature.output_names}


class _ScriptNode(Node):
    def __init__(self, value: Any, module: Any) -> None:
        self._module = module  # a node is gone with the module that its graph belongs to
        self._node = value.node()
        self.op = self._node.kind().rpartition("::")[2]

    @property
    def name(self) -> str:
        return self.op

    def inputs(self) -> Sequence[Node]:
        if self._node.kind().startswith("prim::") and self.op not in ("NumToTensor",):
            return []
        return [_ScriptNode(value, self._module) for value in self._node.inputs()]

    @property
    def is_constant(self) -> bool:
        return self.op in ("Constant", "GetAttr", "ListConstruct")


def _script_outputs(path: Path, signature: Signature) -> dict[str, Node]:
    import torch

    module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    graph = module.inlined_graph
    (returned, *others) = graph.outputs()
    values = [returned, *others]
    if returned.node().kind() == "prim::TupleConstruct":
        values = list(returned.node().inputs())
    return {
        name: _ScriptNode(value, (module, graph))
        for name, value in zip(signature.output_names, values, strict=True)
    }


class _ProgramNode(Node):
    def __init__(self, node: Any, variable: set[str]) -> None:
        self._node, self._variable = node, variable
        target = str(node.target) if node.op == "call_function" else ""
        self.op = target.split(".")[1] if target.startswith("aten.") else target

    def inputs(self) -> Sequence[Node]:
        if self._node.op == "call_function" and self.op.endswith("getitem>"):
            return _ProgramNode(self._node.args[0], self._variable).inputs()
        return [_ProgramNode(node, self._variable) for node in self._node.all_input_nodes]

    @property
    def is_constant(self) -> bool:
        return self._node.op == "placeholder" and self._node.name not in self._variable


def _program_outputs(path: Path, signature: Signature) -> dict[str, Node]:
    import torch

    program = torch.export.load(str(path))
    variable = set(program.graph_signature.user_inputs)
    (last,) = (node for node in program.graph.nodes if node.op == "output")
    values = last.args[0] if isinstance(last.args[0], tuple | list) else (last.args[0],)
    nodes = [_ProgramNode(node, variable) for node in values]
    return dict(zip(signature.output_names, nodes, strict=True))
