"""What a file computes last is seen in ONNX, TorchScript and exported programs alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pinnace.export.formats import all_formats
from pinnace.export.formats.base import Graph
from pinnace.export.worker.eager_model import flat_module
from pinnace.export.worker.graph_end import graph_ends
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.variant_name import VariantName

pytestmark = pytest.mark.slow


class Apply(nn.Module):
    """A function as a network, with a convolution and a linear layer at hand."""

    def __init__(
        self, function: Callable[[Apply, torch.Tensor], torch.Tensor | tuple[torch.Tensor, ...]]
    ) -> None:
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(3, 6, 1)
        self.norm = nn.BatchNorm2d(6)
        self.line = nn.Linear(6, 4)
        self.layer_norm = nn.LayerNorm(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Six numbers for an image."""
        return torch.relu(self.norm(self.conv(x)) + x.mean()).mean((2, 3))


ENDS: dict[str, tuple[Callable[[Apply, torch.Tensor], torch.Tensor], str]] = {
    "linear": (lambda n, x: n.line(n.features(x)), "linear"),
    "softmax": (lambda n, x: n.line(n.features(x)).softmax(1), "softmax"),
    "softmax, then flat": (
        lambda n, x: n.conv(x.mean((2, 3), keepdim=True)).softmax(1).flatten(1),
        "softmax",
    ),
    "log softmax": (lambda n, x: n.line(n.features(x)).log_softmax(1), "log_softmax"),
    "sigmoid": (lambda n, x: torch.sigmoid(n.line(n.features(x))), "sigmoid"),
    "sigmoid, then squeezed": (
        lambda n, x: torch.sigmoid(n.conv(x.mean((2, 3), keepdim=True))).squeeze(3).squeeze(2),
        "sigmoid",
    ),
    "a convolution": (lambda n, x: n.conv(x.mean((2, 3), keepdim=True)), "linear"),
    "a convolution, pooled": (lambda n, x: torch.relu(n.conv(x)).mean((2, 3)), "pooled_convolution"),
    "a scale and a bias": (lambda n, x: 0.01 * n.conv(x).mean((2, 3)) + n.norm.bias, "linear"),
    "a temperature": (lambda n, x: n.line(n.features(x)) / 2.5, "linear"),
    "pooled features": (lambda n, x: n.features(x).flatten(1), "pooling"),
    "a layer norm": (lambda n, x: n.layer_norm(n.features(x)), "normalisation"),
    "of norm 1": (lambda n, x: nn.functional.normalize(n.line(n.features(x))), "normalisation"),
    "an activation": (lambda n, x: torch.tanh(n.line(n.features(x))), "activation"),
}


@pytest.mark.parametrize("format", ["onnx", "torchscript", "pt2"])
@pytest.mark.parametrize("name", ENDS)
def test_the_end_is_seen_in_every_format(tmp_path: Path, name: str, format: str) -> None:
    function, kind = ENDS[name]
    network = Apply(function).eval()
    example = torch.rand(2, 3, 8, 8)
    shape = tuple(network(example).shape[1:])
    signature = Signature(
        (TensorSpec("input", "float32", ("batch", 3, 8, 8)),),
        (TensorSpec("logits", "float32", ("batch", *shape)),),
    )
    writer = all_formats()[format]
    path = tmp_path / f"network{writer.suffix}"
    writer.write(Graph(flat_module(network), (example,), signature, 18), path)
    assert graph_ends(tmp_path, {VariantName(format, "fp32"): path.name}, signature)["logits"].kind == kind


ONNX = VariantName("onnx", "fp32")


def save(
    path: Path, nodes: list[onnx.NodeProto], constants: dict[str, list[float]] | None = None
) -> Signature:
    values = [
        numpy_helper.from_array(torch.tensor(value).numpy(), name)
        for name, value in (constants or {}).items()
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        values,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return Signature((TensorSpec("x", "float32", ("n", 4)),), (TensorSpec("y", "float32", ("n", 4)),))


def test_a_quantised_file_is_looked_through(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Softmax", ["x"], ["s"], axis=1),
        helper.make_node("QuantizeLinear", ["s", "scale"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["d"]),
        helper.make_node("Cast", ["d"], ["y"], to=TensorProto.FLOAT),
    ]
    signature = save(tmp_path / "q.onnx", nodes, {"scale": 0.004})
    end = graph_ends(tmp_path, {ONNX: "q.onnx"}, signature)["y"]
    assert (end.kind, end.op) == ("softmax", "Softmax")


def test_the_tensor_that_the_last_operator_reads_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Softmax", ["x"], ["s"], axis=1),
        helper.make_node("QuantizeLinear", ["s", "scale"], ["q"]),
        helper.make_node("ArgMax", ["q"], ["best"], axis=1),
        helper.make_node("Cast", ["best"], ["y"], to=TensorProto.INT32),
    ]
    signature = save(tmp_path / "best.onnx", nodes, {"scale": 0.004})
    end = graph_ends(tmp_path, {ONNX: "best.onnx"}, signature)["y"]
    assert (end.op, end.reads) == ("ArgMax", "s")
    nodes = [nodes[0], helper.make_node("Mul", ["hundred", "s"], ["y"])]
    signature = save(tmp_path / "percent.onnx", nodes, {"hundred": 100.0})
    assert graph_ends(tmp_path, {ONNX: "percent.onnx"}, signature)["y"].reads == "s"


def test_a_layer_norm_written_out_is_not_a_bias(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["c"]),
        helper.make_node("Mul", ["c", "c"], ["cc"]),
        helper.make_node("ReduceMean", ["cc"], ["v"], keepdims=1),
        helper.make_node("Sqrt", ["v"], ["s"]),
        helper.make_node("Div", ["c", "s"], ["n"]),
        helper.make_node("Mul", ["n", "w"], ["nw"]),
        helper.make_node("Add", ["nw", "b"], ["y"]),
    ]
    signature = save(tmp_path / "n.onnx", nodes, {"w": [1.0] * 4, "b": [0.0] * 4})
    assert graph_ends(tmp_path, {ONNX: "n.onnx"}, signature)["y"].kind == "normalisation"


def test_a_file_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\xff\xfe no model")
    signature = Signature((), (TensorSpec("y", "float32", ("n", 4)),))
    assert graph_ends(tmp_path, {ONNX: "bad.onnx"}, signature) == {}
