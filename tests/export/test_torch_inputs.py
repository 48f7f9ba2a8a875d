"""Networks of torch that normalise their images themselves, or have the channels last, answer as in torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sklearn
import torch
from PIL import Image
from torchvision import transforms

from pinnace.export import targets
from pinnace.export.exporter import export_bundle
from pinnace.export.preprocessing import Changes
from pinnace.export.request import ExportRequest
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.image.decode import open_image
from pinnace.models.variant_name import VariantName
from support.small_networks import build

pytestmark = pytest.mark.slow

PHOTOGRAPHS = sorted((Path(sklearn.__file__).parent / "datasets" / "images").glob("*.jpg"))
EDGE = 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class LastAndBytes(torch.nn.Module):
    """Takes pixels of 0..255 with the channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.network = build()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x.permute(0, 3, 1, 2) / 255)


def save_whole(folder: Path) -> tuple[str, torch.nn.Module]:
    network = torch.nn.Sequential(transforms.Normalize(MEAN, STD), build()).eval()
    torch.save(network, folder / "net.pt")
    return "file:net.pt", network


def save_script(folder: Path) -> tuple[str, torch.nn.Module]:
    network = LastAndBytes().eval()
    torch.jit.script(network).save(str(folder / "net.ts"))
    return "file:net.ts", network


def save_program(folder: Path) -> tuple[str, torch.nn.Module]:
    network = LastAndBytes().eval()
    shapes = ({0: torch.export.Dim("batch")},)
    torch.export.save(
        torch.export.export(network, (torch.zeros(2, EDGE, EDGE, 3),), dynamic_shapes=shapes),
        folder / "net.pt2",
    )
    return "file:net.pt2", network


@pytest.mark.parametrize(
    ("save", "divisor", "last", "said"),
    [
        (save_whole, 255, False, "the model begins with a normalisation of its own, (x - 0.485 0.456 0.406) "
         "/ 0.229 0.224 0.225, so it is given pixels of 0..1 in RGB as they are"),
        (save_script, 1, True, "the model begins with a normalisation of its own, (x - 0 0 0) / 255 255 255, "
         "so it is given pixels of 0..255 in RGB as they are"),
        (save_program, 1, True, "so it is given pixels of 0..255 in RGB as they are"),
    ],
)  # fmt: skip
def test_what_a_network_does_itself_is_not_done_before_it(
    tmp_path: Path, save: Callable[[Path], tuple[str, torch.nn.Module]], divisor: float, last: bool, said: str
) -> None:
    source, network = save(tmp_path)
    request = ExportRequest(
        source,
        (VariantName("onnx", "fp32"),),
        18,
        changes=Changes(resize=(EDGE, EDGE)),
        trust=True,
        folder=str(tmp_path),
    )
    bundle: Bundle = export_bundle(request, targets.read("cpu"), tmp_path / "out.bundle")
    assert any(said in note for note in bundle.manifest.notes)
    assert not any("mean" in note and "assumed" in note for note in bundle.manifest.notes)
    with Classifier(bundle) as classifier:
        for photograph in PHOTOGRAPHS:
            squeezed = Image.open(photograph).convert("RGB").resize((EDGE, EDGE), Image.Resampling.BILINEAR)
            fed = torch.from_numpy(np.asarray(squeezed, np.float32) / np.float32(divisor))[None]
            with torch.no_grad():
                wanted = network(fed if last else fed.permute(0, 3, 1, 2))
            given = classifier.prepare(open_image(photograph))
            np.testing.assert_allclose(classifier.infer(given), wanted, rtol=1e-4, atol=1e-4)
