"""ONNX files that are written weight by weight."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from pinnace.export.formats.onnx import external
from pinnace.export.formats.onnx import file as onnx_file
from pinnace.models.errors import CheckFailed
from support.errors import refusal


@pytest.fixture
def program(tiny: torch.nn.Module) -> torch.onnx.ONNXProgram:
    exported = torch.onnx.export(
        tiny, (torch.randn(2, 3, 16, 16),), dynamo=True, opset_version=18, verbose=False
    )
    assert exported is not None
    return exported


def test_the_message_is_the_one_that_torch_would_write(
    program: torch.onnx.ONNXProgram, tmp_path: Path
) -> None:
    want = program.model_proto
    onnx_file.strip(want)
    onnx_file.save(program, tmp_path / "net.onnx")
    have = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(have, full_check=True)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in want.graph.initializer}
    assert len(have.graph.initializer) == len(weights) > 3
    for tensor in have.graph.initializer:
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), weights[tensor.name], strict=True)
    for model in (want, have):
        model.graph.ClearField("initializer")
        # torch writes the shapes of weights once more here.
        others = [value for value in model.graph.value_info if value.name not in weights]
        model.graph.ClearField("value_info")
        model.graph.value_info.extend(others)
    assert have == want


def test_it_runs(program: torch.onnx.ONNXProgram, tiny: torch.nn.Module, tmp_path: Path) -> None:
    onnx_file.save(program, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    inputs = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    (answer,) = session.run(None, {session.get_inputs()[0].name: inputs})
    np.testing.assert_allclose(answer, tiny(torch.from_numpy(inputs)).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_what_one_file_cannot_hold_goes_into_another_beside_it(
    program: torch.onnx.ONNXProgram, tiny: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "LARGEST", 500)
    monkeypatch.setattr(external, "SMALL", 100)
    onnx_file.save(program, tmp_path / "net.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    inputs = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    (answer,) = session.run(None, {session.get_inputs()[0].name: inputs})
    np.testing.assert_allclose(answer, tiny(torch.from_numpy(inputs)).numpy(), rtol=1e-4, atol=1e-5)


def test_what_only_one_exporter_writes() -> None:
    assert refusal(CheckFailed, lambda: onnx_file.require_room(3_000_000_000)) == (
        "the network has more than 2 GiB of weights, and only torch.onnx.export(dynamo=True) in opset 18 or "
        "later writes so many\n  expected: at most 2.15 GB\n  got: 3.00 GB\n"
        "  help: leave it out with --format torchscript"
    )
