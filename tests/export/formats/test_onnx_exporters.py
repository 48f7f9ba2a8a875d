"""The three ways to ONNX: which one writes the file, and what is said of it."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from pinnace.export.formats import onnx as onnx_format
from pinnace.export.formats.base import Graph
from pinnace.export.formats.onnx import exporters
from pinnace.export.worker.eager_model import flat_module
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.errors import CheckFailed
from pinnace.models.variant_name import VariantName
from support.errors import refusal
from support.sample_networks import Branching

pytestmark = pytest.mark.slow

SIGNATURE = Signature(
    (TensorSpec("input", "float32", ("batch", 3, 16, 16)),), (TensorSpec("logits", "float32", ("batch", 5)),)
)


class FiveDimensions(torch.nn.Module):
    """Attention over windows, as NesT, Twins and Hiera have it: queries of five dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = torch.nn.Conv2d(3, 24, 4, 4)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).reshape(x.shape[0], 3, 1, 8, 4, 4).transpose(-1, -2).flatten(4)
        q, k, v = tokens.permute(1, 0, 2, 4, 3).unsqueeze(2).unbind(0)
        answer: torch.Tensor = self.head(
            torch.nn.functional.scaled_dot_product_attention(q, k, v).mean((1, 2, 3))
        )
        return answer


class NoWay(torch.nn.Module):
    """Computes what no exporter knows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(x[:, 0]).real[:, :5]


@pytest.fixture
def graph() -> Graph:
    torch.manual_seed(0)
    return Graph(flat_module(FiveDimensions().eval()), (torch.randn(2, 3, 16, 16),), SIGNATURE, 18)


def answers(path: Path, images: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path))
    (found,) = session.run(None, {"input": images.numpy()})
    return np.asarray(found)


def test_attention_over_five_dimensions_is_written_the_second_way(graph: Graph, tmp_path: Path) -> None:
    written = onnx_format.write(graph, tmp_path / "onnx-fp32.onnx")
    assert written.exporter == "dynamo-math-attention"
    (note,) = written.notes
    assert note.startswith(
        "onnx-fp32 was written by torch.export with attention as plain products (SDPBackend.MATH), given to "
        "torch.onnx.export, because torch.onnx.export(dynamo=True) fails: "
    )
    assert "only 4D query, key, and value" in note
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        want = graph.module(images).numpy()
    np.testing.assert_allclose(answers(tmp_path / "onnx-fp32.onnx", images), want, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_the_third_way(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = torch.export.export

    def fails(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no program today")

    monkeypatch.setattr(torch.export, "export", fails)
    written = onnx_format.write(graph, tmp_path / "onnx-fp32.onnx")
    monkeypatch.setattr(torch.export, "export", broken)
    assert written.exporter == "torchscript"
    assert written.notes[0].startswith(
        "onnx-fp32 was written by torch's TorchScript-based exporter (dynamo=False), because "
    )
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        want = graph.module(images).numpy()
    np.testing.assert_allclose(answers(tmp_path / "onnx-fp32.onnx", images), want, atol=1e-5)


def test_where_the_first_way_works_nothing_is_said(tiny: torch.nn.Module, tmp_path: Path) -> None:
    steps: list[str] = []
    graph = Graph(flat_module(tiny), (torch.randn(2, 3, 16, 16),), SIGNATURE, 18, tell=steps.append)
    with redirect_stdout(io.StringIO()) as printed:
        written = onnx_format.write(graph, tmp_path / "onnx-fp32.onnx")
    assert (written.exporter, written.notes) == ("dynamo", ())
    assert steps == [
        "torch.onnx.export(dynamo=True)",
        "torch.export.export(..., strict=False)",
        "Run decompositions",
        "Translate the graph into ONNX",
        "Optimize the ONNX graph",
        "saving",
    ]
    assert "[torch.onnx]" not in printed.getvalue()


@pytest.mark.filterwarnings("ignore")
def test_no_way(tmp_path: Path) -> None:
    graph = Graph(flat_module(NoWay().eval()), (torch.randn(2, 3, 16, 16),), SIGNATURE, 18)
    message = refusal(CheckFailed, lambda: onnx_format.write(graph, tmp_path / "net.onnx"))
    assert message.startswith("torch.onnx.export cannot export the network: ")
    assert "linalg_eig" in message
    assert "; its older exporter fails as well: UnsupportedOperatorError: " in message
    assert message.endswith("\n  help: leave it out with --format torchscript")


def test_the_script_tries_every_way(tmp_path: Path) -> None:
    script = (
        "import torch\n"
        "model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 5)).eval()\n"
        "examples = (torch.randn(2, 3, 4, 4),)\n"
    ) + onnx_format.snippet(VariantName("onnx", "fp32"), 18)
    script = script.replace("onnx-fp32.onnx", "{}.onnx")
    for name in ("one", "two", "three"):
        script = script.replace("{}.onnx", f"{name}.onnx", 1)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert [line for line in done.stdout.splitlines() if line in {each.words for each in exporters.EXPORTERS}]
    assert sorted(path.name for path in tmp_path.glob("*.onnx")) == ["one.onnx", "three.onnx", "two.onnx"]


@pytest.mark.filterwarnings("ignore")
def test_a_decision_that_depends_on_the_data_is_not_traced(tmp_path: Path) -> None:
    graph = Graph(flat_module(Branching().eval()), (torch.randn(2, 3, 16, 16),), SIGNATURE, 18)
    message = refusal(CheckFailed, lambda: onnx_format.write(graph, tmp_path / "net.onnx"))
    assert "data-dependent" in message
    assert "older exporter" not in message
    assert not (tmp_path / "net.onnx").exists()
