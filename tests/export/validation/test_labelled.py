"""`--images` with a folder for each class: right answers are counted, and a wrong resize is seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pinnace.export import targets
from pinnace.export.exporter import Evidence, export_bundle
from pinnace.export.preprocessing import Changes, parse_changes
from pinnace.export.request import ExportRequest, ResizeTrial
from pinnace.export.validation.accuracy import wilson
from pinnace.export.validation.labelled import accuracy_notes
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.measurements import Accuracy
from pinnace.models.classifier import Classifier
from pinnace.models.records import reference
from pinnace.models.variant_name import VariantName
from support.command_line import CommandLine

pytestmark = pytest.mark.slow

EDGE = 32
CLASSES = {"coarse": 16, "fine": 4, "middle": 8}
IMAGES = 12

NET = """
import torch


def build():
    layer = lambda i, o, step: [torch.nn.Conv2d(i, o, 3, step, 1), torch.nn.ReLU()]
    end = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 3)]
    return torch.nn.Sequential(*layer(3, 16, 2), *layer(16, 16, 1), *end)
"""


def stripes(period: int, random: np.random.Generator, edge: int = EDGE) -> np.ndarray:
    """Grey stripes of a period, in pixels of an image of 32: uint8, (edge, edge, 3)."""
    rows, columns = np.mgrid[:edge, :edge] * (EDGE / edge)
    angle, phase = random.uniform(0, np.pi, 2)
    wave = np.sin(2 * np.pi / period * (rows * np.sin(angle) + columns * np.cos(angle)) + phase)
    noise = random.normal(0, 10, (edge, edge, 1))
    return np.clip(127 + 80 * wave[..., None] + noise, 0, 255).astype(np.uint8).repeat(3, axis=2)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was trained to tell the width of stripes at 32 pixels, and photographs of 96."""
    folder = tmp_path_factory.mktemp("stripes")
    (folder / "stripes_net.py").write_text(NET)
    scope: dict[str, Any] = {}
    exec(NET, scope)  # noqa: S102
    torch.manual_seed(0)
    network = scope["build"]()
    random = np.random.default_rng(0)
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    periods = [CLASSES[name] for name in sorted(CLASSES)]
    for _ in range(250):
        wanted = random.integers(0, 3, 24)
        pixels = np.stack([stripes(periods[one], random) for one in wanted]).transpose(0, 3, 1, 2)
        loss = torch.nn.functional.cross_entropy(
            network(torch.from_numpy(pixels / np.float32(255))), torch.from_numpy(wanted)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.save(network.state_dict(), folder / "w.pt")
    for name, period in CLASSES.items():
        (folder / "images" / name).mkdir(parents=True)
        for index in range(IMAGES):
            image = Image.fromarray(stripes(period, random, 96))
            image.save(folder / "images" / name / f"{index}.png")
    return folder


@pytest.fixture
def export(project: Path, tmp_path: Path) -> Callable[..., Bundle]:
    def run(**changes: Any) -> Bundle:
        labels = changes.pop("labels", None)
        request = ExportRequest(
            "file:w.pt", (VariantName("onnx", "fp32"),), 18, arch="stripes_net:build", folder=str(project)
        )
        return export_bundle(
            dataclasses.replace(request, **changes),
            targets.read("cpu"),
            tmp_path / "out.bundle",
            evidence=Evidence(images=project / "images"),
            labels=labels,
        )

    return run


PLAIN = {"mean": "0,0,0", "std": "1,1,1"}


def about(bundle: Bundle, words: str) -> list[str]:
    return [note for note in bundle.manifest.notes if words in note]


def test_a_wrong_size_is_told_and_the_options_that_it_ends_in_do_it_right(
    project: Path, export: Callable[..., Bundle], pinnace: CommandLine
) -> None:
    bundle = export(changes=parse_changes(**PLAIN))
    assert bundle.preprocess.crop == (224, 224)
    assert bundle.labels == ("coarse", "fine", "middle")
    assert about(bundle, "those of the folders of --images are taken, in the order of their text")
    (counted,) = about(bundle, "top-1 on 36 images in")
    assert float(counted.partition("onnx-fp32 ")[2].partition("%")[0]) < 60
    (told,) = about(bundle, "another preprocessing gets")
    words = told.partition("export again with ")[2].split()
    options = {word.removeprefix("--"): value for word, value in zip(words[::2], words[1::2], strict=True)}
    assert options["resize"] in ("32", "32x32", "37")
    again = export(changes=parse_changes(**PLAIN | options))
    (counted,) = about(again, "top-1 on 36 images in")
    assert float(counted.partition("onnx-fp32 ")[2].partition("%")[0]) > 90
    (variant,) = again.manifest.variants
    assert variant.accuracy is not None
    assert (variant.accuracy.images, f"{variant.accuracy.top1:.1%}" in counted) == (36, True)
    assert Bundle.open(again.folder).manifest.variants[0].accuracy == variant.accuracy
    assert "## How often they are right" in (again.folder / "README.md").read_text()
    shown = " ".join(pinnace("inspect", again.folder).out.split())
    assert "how often each variant was right on 36 labelled images" in shown
    assert "top-1, right" in shown
    (row,) = pinnace("inspect", again.folder, "--json").json["variants"]
    assert row["accuracy"]["top1"] == variant.accuracy.top1
    assert not about(again, "another preprocessing") + about(again, "guessing")
    check_reference(again, sorted((project / "images").rglob("*.png")))


def check_reference(bundle: Bundle, files: list[Path]) -> None:
    """The bundle keeps what it answers to these photographs."""
    kept = reference.read(bundle)
    with Classifier(bundle) as classifier:
        firsts = [classifier.classify(file).predictions[0] for file in files]
    assert kept.labels.tolist() == [first.label for first in firsts]
    assert kept.confidence == pytest.approx([first.probability for first in firsts], abs=1e-4)
    assert kept.bytes.tolist() == [file.stat().st_size for file in files]
    assert {*kept.width, *kept.height} == {96}
    assert kept.brightness == pytest.approx(np.full(len(files), 127), abs=25)


def test_labels_in_a_wrong_order_are_not_taken_in_silence(
    tmp_path: Path, export: Callable[..., Bundle]
) -> None:
    (tmp_path / "labels.txt").write_text("fine\nmiddle\ncoarse\n")
    changes = Changes(resize=(EDGE, EDGE), mean=(0.0,) * 3, std=(1.0,) * 3)
    bundle = export(labels=tmp_path / "labels.txt", changes=changes)
    (counted,) = about(bundle, "top-1 on 36 images in")
    assert "onnx-fp32 0.0%" in counted
    # Stripes of another width are what these labels say, so that another size may do better.
    assert about(bundle, "guessing") + about(bundle, "another preprocessing gets")


def test_folders_that_name_no_class_are_told(
    project: Path, tmp_path: Path, export: Callable[..., Bundle]
) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    bundle = export(labels=tmp_path / "labels.txt")
    (told,) = about(bundle, "top-1 was not counted on")
    assert told.endswith("do not name a class (coarse, fine, middle)")


def accuracy(right: int, images: int) -> Accuracy:
    return Accuracy(images, right / images, 1.0, wilson(right, images), (1.0, 1.0))


@pytest.mark.parametrize(
    ("right", "images", "classes", "guessing"),
    [
        (12, 100, 10, True),
        (94, 100, 10, False),
        (70, 100, 2, False),
        (52, 100, 2, True),
        (60, 1000, 1000, True),
    ],
)
def test_what_is_near_guessing(right: int, images: int, classes: int, guessing: bool) -> None:
    notes = accuracy_notes(Path("i"), {"onnx-fp32": accuracy(right, images)}, classes, ResizeTrial(48, 40))
    assert (len(notes) == 2) is guessing
