"""What a variant loses: judged on images without labels, and what --max-drop makes of it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from pinnace.cli.tune.judge import ImageJudge
from pinnace.latency.tuning.judgement import Judgement, allowed
from pinnace.latency.tuning.space import Pair
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import UsageError
from pinnace.models.files import sha256
from pinnace.models.progress import ignore
from support.tiny_bundle import WEIGHTS, build_bundle

COLOURS = [(230, 20, 20), (20, 230, 20), (20, 20, 230), (20, 20, 200)]
FP32, OTHER = Pair("onnx-fp32", "onnxruntime"), Pair("onnx-int8", "onnxruntime")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """The tiny bundle, and a variant that takes blue for red, and red for blue."""
    folder = build_bundle(tmp_path / "tiny.bundle")
    model = onnx.load(folder / "model.onnx")
    (weights,) = [each for each in model.graph.initializer if each.name == "weights"]
    weights.CopyFrom(numpy_helper.from_array(WEIGHTS[[2, 1, 0, 3, 4]], "weights"))
    onnx.save(model, folder / "other.onnx")
    opened = Bundle.open(folder)
    (first,) = opened.manifest.variants
    other = dataclasses.replace(
        first,
        name="onnx-int8",
        precision="int8",
        file="other.onnx",
        sha256=sha256(folder / "other.onnx"),
        bytes=(folder / "other.onnx").stat().st_size,
    )
    manifest = dataclasses.replace(opened.manifest, variants=(first, other))
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return Bundle.open(folder)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four images in one folder, and a file that is none."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (40, 30), colour).save(folder / f"{number}.png")
    (folder / "4.png").write_bytes(b"not an image")
    return folder


def test_without_labels_it_is_how_many_first_classes_differ(bundle: Bundle, images: Path) -> None:
    judge = ImageJudge(bundle, images, 10, 1, ignore)
    assert not judge.labelled
    first, other = judge([FP32, OTHER])
    assert (first.pair, first.lost, first.images, first.labelled) == (FP32, 0.0, 4, False)
    # Green alone is called alike. Wilson's interval of 1 of 4, by hand: 4.6 to 69.9 %.
    assert (other.pair, other.lost, other.images) == (OTHER, 75.0, 4)
    assert other.interval == pytest.approx((100 - 69.94, 100 - 4.56), abs=0.01)
    assert str(other) == "75.00 % of first classes differ from fp32 (30.06 to 95.44; 4 images)"
    (note,) = judge.notes
    assert note.startswith(f"1 images could not be read, such as {images / '4.png'} was skipped: ")


def test_where_there_are_more_images_than_wanted_some_are_drawn(bundle: Bundle, images: Path) -> None:
    judge = ImageJudge(bundle, images, 2, 7, ignore)
    assert len(judge.files) == 2
    assert judge.notes == ["2 of the 5 images were drawn to judge by (seed 7)"]
    assert ImageJudge(bundle, images, 2, 7, ignore).files == judge.files
    shutil.rmtree(images)
    images.mkdir()
    with pytest.raises(UsageError, match="there are no images in"):
        ImageJudge(bundle, images, 2, 7, ignore)


def test_the_measured_loss_decides_and_the_interval_does_not() -> None:
    at = Judgement("onnx-int8", "openvino", 180, 1.0, (0.1, 4.0), labelled=False)
    above = dataclasses.replace(at, runtime="onnxruntime", lost=1.01, interval=(0.0, 4.1))
    pairs, out = allowed([at, above], 1.0)
    assert pairs == [at.pair]
    assert [(each.what, each.reason) for each in out] == [
        (
            "onnx-int8 in onnxruntime",
            "1.01 % of first classes differ from fp32 (0.00 to 4.10; 180 images), and at most 1 are allowed",
        )
    ]
