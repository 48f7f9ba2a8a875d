"""ncnn's files: written by pnnx, and run image by image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pinnace.export.formats import ncnn as ncnn_format
from pinnace.export.formats.base import Graph
from pinnace.export.worker.eager_model import flat_module
from pinnace.models.bundle.manifest import weights_file
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.errors import BundleError, CheckFailed, MissingDependency
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.runtimes.ncnn import Ncnn
from pinnace.models.variant_name import VariantName
from support.errors import refusal

pytestmark = pytest.mark.slow

# Planes of 15 x 17 numbers are no multiple of 16 bytes.
SHAPE = (3, 15, 17)
SIGNATURE = Signature(
    (TensorSpec("image", "float32", ("batch", *SHAPE)),),
    (TensorSpec("logits", "float32", ("batch", 5)), TensorSpec("map", "float32", ("batch", 4, 13, 15))),
)


class TwoHeads(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 4, 3)
        self.head = torch.nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.relu(self.stem(x))
        return self.head(features.mean((2, 3))), features


class Unknown(torch.nn.Module):
    """An operation for which ncnn has no layer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.erfcx(x).mean((2, 3))


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(3, *SHAPE)


def graph_of(network: torch.nn.Module, precision: str = "fp32", signature: Signature = SIGNATURE) -> Graph:
    example = torch.randn(
        2, *(size if isinstance(size, int) else 8 for size in signature.inputs[0].shape[1:])
    )
    return Graph(flat_module(network.eval()), (example,), signature, 18, precision)


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-6), ("fp16", 2e-3)])
def test_both_heads_answer_like_the_network(
    images: torch.Tensor, tmp_path: Path, precision: str, most: float
) -> None:
    network = TwoHeads()
    path = tmp_path / f"ncnn-{precision}.param"
    ncnn_format.write(graph_of(network, precision), path)
    with torch.no_grad():
        wanted = dict(zip(SIGNATURE.output_names, network(images), strict=True))
    with Ncnn(path, SIGNATURE, RuntimeOptions(threads=1)) as runtime:
        found = runtime.run({"image": images.numpy()})
        one = runtime.run({"image": images[:1].numpy()})
    for name, answer in wanted.items():
        assert found[name].shape == tuple(answer.shape)
        assert np.abs(found[name] - answer.numpy()).max() <= most * np.ptp(answer.numpy())
        np.testing.assert_array_equal(one[name], found[name][:1])


def test_weights_in_float32_are_used_as_such(tmp_path: Path) -> None:
    """Where nothing is said, ncnn would round them to half precision."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 15 * 17, 5))
    signature = Signature(SIGNATURE.inputs, SIGNATURE.outputs[:1])
    ncnn_format.write(graph_of(network, signature=signature), tmp_path / "net.param")
    images = torch.randn(2, *SHAPE)
    with Ncnn(tmp_path / "net.param", signature, RuntimeOptions(threads=1)) as runtime, torch.no_grad():
        assert not runtime._net.opt.use_fp16_storage
        np.testing.assert_allclose(
            runtime.run({"image": images.numpy()})["logits"], network(images).numpy(), atol=1e-5
        )


def test_what_ncnn_cannot_have_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.param"
    logits = SIGNATURE.outputs[:1]
    message = refusal(CheckFailed, ncnn_format.write, graph_of(Unknown(), signature=SIGNATURE), path)
    assert "erfcx" in message
    any_size = Signature((TensorSpec("image", "float32", ("batch", 3, "height", "width")),), logits)
    assert refusal(CheckFailed, ncnn_format.write, graph_of(TwoHeads(), signature=any_size), path) == (
        "ncnn takes images one by one, in float32 and of one size\n"
        "  got: image=float32[batch,3,height,width]\n"
        "  help: leave it out with --format onnx"
    )
    monkeypatch.setitem(sys.modules, "pnnx", None)
    assert "the package pnnx is not installed" in refusal(
        MissingDependency, ncnn_format.write, graph_of(TwoHeads()), path
    )
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.param"
    ncnn_format.write(graph_of(TwoHeads()), path)
    path.write_text(path.read_text().replace("Convolution", "Revolution"))
    message = refusal(BundleError, Ncnn, path, SIGNATURE, RuntimeOptions())
    assert message == f"ncnn cannot load {path}: it has layers that this ncnn does not know"
    path.write_text(path.read_text().replace("Revolution", "Convolution"))
    path.with_name(weights_file(path.name)).unlink()
    message = refusal(BundleError, Ncnn, path, SIGNATURE, RuntimeOptions())
    assert message == f"ncnn cannot load {path}: its weights are missing or cut short"
    more = Signature(SIGNATURE.inputs, (*SIGNATURE.outputs, TensorSpec("more", "float32", ("batch", 1))))
    message = refusal(BundleError, Ncnn, path, more, RuntimeOptions())
    assert message == f"ncnn cannot load {path}: it has no out2"


def test_the_script_writes_the_same_files(tmp_path: Path) -> None:
    lines = ncnn_format.snippet(VariantName("ncnn", "fp32"), 18)
    network = "model = torch.nn.Conv2d(3, 4, 3).eval()\nexamples = (torch.randn(2, 3, 8, 8),)\n"
    (tmp_path / "script.py").write_text(f"import torch\n\n{network}{lines}")
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "ncnn-fp32.param").read_text().startswith("7767517")
    assert (tmp_path / "ncnn-fp32.param.data").stat().st_size > 4 * 3 * 4 * 9
