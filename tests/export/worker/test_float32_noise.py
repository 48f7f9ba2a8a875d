"""A network that is exact nowhere near one golden input, and what that means for the proof."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pinnace.export import targets
from pinnace.export.exporter import export_bundle
from pinnace.export.request import ExportRequest
from pinnace.export.validation import parity
from pinnace.export.validation.verify import passed, verify_bundle
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.measurements import Tolerance
from pinnace.models.errors import CheckFailed
from pinnace.models.variant_name import VariantName

pytestmark = pytest.mark.slow

ONNX = VariantName("onnx", "fp32")

# Adds and takes away a million times the cube of the largest pixel: nothing on images, all digits on noise.
NETWORK = '''
import torch
from torch import nn


class Touchy(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        large = (x.amax((1, 2, 3), keepdim=True) / 4).pow(8)
        features = ((self.stem(x) + large) - large).relu().mean((2, 3))
        return self.head(features)


class Wrong(Touchy):
    """One weight is 1 % more wherever the network is traced."""

    def forward(self, x):
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            weight = self.head.weight.clone()
            largest = weight.abs().max()
            weight = torch.where(weight.abs() == largest, weight * 1.01, weight)
            large = (x.amax((1, 2, 3), keepdim=True) / 4).pow(8)
            features = ((self.stem(x) + large) - large).relu().mean((2, 3))
            return nn.functional.linear(features, weight, self.head.bias)
        return super().forward(x)
'''


@pytest.fixture(scope="module")
def touchy(tiny_request: ExportRequest, tmp_path_factory: pytest.TempPathFactory) -> ExportRequest:
    folder = tmp_path_factory.mktemp("touchy")
    (folder / "touchy.py").write_text(NETWORK)
    torch.manual_seed(0)
    stem, head = torch.nn.Conv2d(3, 6, 3), torch.nn.Linear(6, 5)
    weights = {f"stem.{name}": tensor for name, tensor in stem.state_dict().items()}
    weights |= {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    torch.save(weights, folder / "touchy.pt")
    return dataclasses.replace(
        tiny_request, source="file:touchy.pt", arch="touchy:Touchy", folder=str(folder), variants=(ONNX,)
    )


@pytest.fixture(scope="module")
def bundle(touchy: ExportRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_bundle(touchy, targets.read("cpu"), tmp_path_factory.mktemp("out") / "touchy.bundle")


def test_an_input_on_which_eager_itself_is_off_is_replaced_by_a_tamer_one(bundle: Bundle) -> None:
    (note,) = [note for note in bundle.manifest.notes if "float64" in note]
    assert note.startswith("golden input 9 was divided by ")
    inputs, outputs = bundle.golden()
    noise = bundle.manifest.golden.float32_noise
    assert len(noise) == len(inputs["input"]) == 10
    assert 0 < max(noise) <= 1e-3
    assert np.abs(inputs["input"][9]).max() < 8 * np.abs(inputs["input"][8]).max()
    assert outputs["logits"].dtype == np.float32
    measured = bundle.variant("onnx-fp32").parity
    assert measured is not None
    assert measured.max_rel_beyond_noise is not None
    assert measured.max_rel_beyond_noise <= measured.max_rel
    assert passed(verify_bundle(bundle))


def test_one_weight_changed_by_a_hundredth_is_refused(touchy: ExportRequest, tmp_path: Path) -> None:
    wrong = dataclasses.replace(touchy, arch="touchy:Wrong")
    with pytest.raises(CheckFailed, match="does not answer like the eager model; no bundle was written"):
        export_bundle(wrong, targets.read("cpu"), tmp_path / "wrong.bundle")


def test_only_fp32_is_allowed_for_it(bundle: Bundle) -> None:
    stored, fp32 = bundle.manifest.golden, bundle.variant("onnx-fp32")
    assert parity.noise_of(stored, fp32, fp32.tolerance) == stored.float32_noise
    assert parity.noise_of(stored, fp32, Tolerance(max_rel=0.1)) == ()  # a runtime that computes in bf16
    int8 = dataclasses.replace(fp32, precision="int8")
    assert parity.noise_of(stored, int8, int8.tolerance) == ()
