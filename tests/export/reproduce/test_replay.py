"""Scripts that replay a failure: whatever batch the model takes, and every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from pinnace.export.reproduce import replay
from pinnace.models.bundle import golden
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.runtimes import all_runtimes

INPUTS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def replayed(
    folder: Path, runtime: str, file: str, shape: tuple[int | str, ...], capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """What a script prints of a model that doubles, where what is expected is three times the input."""
    golden.write(folder / "failing.npz", {"x": INPUTS}, {"y": 3 * INPUTS})
    signature = Signature((TensorSpec("x", "float32", shape),), (TensorSpec("y", "float32", shape),))
    runner = all_runtimes()[runtime].snippet(folder / file)
    code = replay.code(runner, signature, samples="failing.npz", reference="fp32")
    assert "pinnace" not in code
    exec(compile(code, "script", "exec"), {"DATA": folder, "numpy": np})  # noqa: S102
    name, *samples = capsys.readouterr().out.splitlines()
    assert name == "y"
    largest = np.abs(INPUTS).max(axis=1) / np.ptp(3 * INPUTS, axis=1)
    for line, share in zip(samples, largest, strict=False):
        assert f"off by {share:.3g} of the range" in line
        assert "cosine 1.000000" in line
    return samples


def save_onnx(path: Path, shape: tuple[int | str, ...]) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "double", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("shape", "count"), [(("batch", 4), 5), ((1, 4), 5), ((3, 4), 6), ((8, 4), 8), (("length",), 5)]
)
def test_every_sample_is_shown_whatever_the_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runtime: str, shape: tuple[int | str, ...], count: int
) -> None:
    save_onnx(tmp_path / "double.onnx", shape)
    assert len(replayed(tmp_path, runtime, "double.onnx", shape, capsys)) == count


class Double(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x


def test_torchscript_and_exported_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = (torch.from_numpy(INPUTS),)
    torch.jit.save(torch.jit.trace(Double(), example), tmp_path / "double.pt")
    torch.export.save(torch.export.export(Double(), example), tmp_path / "double.pt2")
    for runtime, file in (("torchscript", "double.pt"), ("pt2", "double.pt2")):
        assert len(replayed(tmp_path, runtime, file, ("batch", 4), capsys)) == 5
