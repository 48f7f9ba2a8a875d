"""ONNX files that ONNX Runtime does not load: what is said of them."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from pinnace.export.worker.onnx_source import OnnxSource
from pinnace.models.errors import SourceError
from support.errors import refusal


@pytest.mark.parametrize(
    ("ir", "opset", "domain", "reason", "hint"),
    [
        (
            99,
            17,
            "",
            "Unsupported model IR version: 99, max supported IR version: ",
            "pip install -U onnxruntime",
        ),
        (8, 99, "", "ONNX Runtime only *guarantees* support for models", "pip install -U onnxruntime"),
        (
            8,
            17,
            "com.microsoft.extensions",
            "Fatal error: com.microsoft.extensions:Relu",
            "write it without them",
        ),
    ],
)
def test_what_the_runtime_does_not_know(
    tmp_path: Path, ir: int, opset: int, domain: str, reason: str, hint: str
) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], domain=domain)], "g", values[:1], values[1:]
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, ir_version=ir, opset_imports=opsets), tmp_path / "net.onnx")
    (tmp_path / "out").mkdir()
    message = refusal(SourceError, OnnxSource, tmp_path / "net.onnx", tmp_path / "out")
    assert message.startswith(f"{tmp_path}/net.onnx cannot be read as an ONNX model: {reason}")
    assert hint in message
