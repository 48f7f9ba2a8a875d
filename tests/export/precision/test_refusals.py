"""What is wrong is refused on its way through a whole export, and left is a script that shows it."""

from __future__ import annotations

import dataclasses
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from pinnace.cli import main
from pinnace.export import targets
from pinnace.export.exporter import Evidence, export_bundle
from pinnace.export.precision import gptq, sensitivity
from pinnace.export.request import ExportRequest
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.errors import CheckFailed
from pinnace.models.variant_name import VariantName
from support.errors import refusal

pytestmark = pytest.mark.slow

Export = Callable[..., tuple[int, str]]
Floats = npt.NDArray[np.float32]

CPU = targets.read("cpu")
# The logits of a network with random weights lie close together, so its int8 is allowed more.
LOOSE = dataclasses.replace(CPU.tolerance["int8"], max_mean_rel=0.2)
CPU = dataclasses.replace(CPU, tolerance=CPU.tolerance | {"int8": LOOSE})
TARGET = """
description = "the box in the hall"
opset = 18
variants = ["onnx-int8", "onnx-fp32"]

[tolerance.fp32]
max_rel = 1e-3

[tolerance.int8]
photographs_only = true
"""


@pytest.fixture(scope="module")
def black(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("black")
    for index in range(4):
        Image.new("RGB", (16, 16)).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def export(
    workshop: Path, pictures: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> Export:  # fmt: skip
    """Export the tiny network in int8 by command line, for a target of the user's own: (status, errors)."""
    monkeypatch.chdir(workshop)
    target = tmp_path / "mine.toml"

    def run(out: str, *options: str, bounds: str = "max_rel = 0.4") -> tuple[int, str]:
        target.write_text(TARGET + bounds)
        asked = ["--arch", "sample_networks:Tiny", "--preprocess", "preprocess.toml", "--target", str(target)]
        asked += ["--calibrate", str(pictures), "-o", str(tmp_path / out), *options]
        status = main.run(["export", "file:tiny.pt", *asked])
        return status, capsys.readouterr().err

    return run


def break_scale(monkeypatch: pytest.MonkeyPatch, layer: str, factor: np.float32 | Floats) -> None:
    """From now on int8 multiplies the scales of a layer's weights by a factor, and leaves no node out."""
    monkeypatch.setattr(sensitivity, "MOST_WORK", 0)  # or the search would mend it
    put = gptq.put

    def broken(model: onnx.ModelProto, found: gptq.Rounded) -> None:
        put(model, found)
        (scale,) = [t for t in model.graph.initializer if t.name.endswith(f"{layer}.weight_scale")]
        scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * factor, scale.name))

    monkeypatch.setattr(gptq, "put", broken)


@pytest.mark.parametrize("layer", ["stem", "head"])
def test_a_wrong_scale_is_refused_and_the_node_that_has_it_is_named(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    assert export("good.bundle")[0] == 0
    fp32 = onnx.load(str(tmp_path / "good.bundle" / "onnx-fp32.onnx"))
    (node,) = [n for n in fp32.graph.node if any(name.endswith(f"{layer}.weight") for name in n.input)]
    break_scale(monkeypatch, layer, np.float32(8))
    status, err = export("bad.bundle")
    assert status == 1
    assert (
        f"the first node that differs from onnx-fp32 is {node.name} ({node.op_type}), whose output is off by "
        in err
    )
    assert not (tmp_path / "bad.bundle").exists()


def test_a_quantisation_calibrated_on_black_is_refused(
    tiny_request: ExportRequest, pictures: Path, black: Path, tmp_path: Path
) -> None:
    request = dataclasses.replace(
        tiny_request, variants=(VariantName("onnx", "fp32"), VariantName("onnx", "int8"))
    )
    evidence = Evidence(calibrate=black, images=pictures)
    message = refusal(
        CheckFailed, lambda: export_bundle(request, CPU, tmp_path / "out.bundle", evidence=evidence)
    )
    sentence, expected, got, hint = message.splitlines()
    assert sentence == "onnx-int8 in onnxruntime does not answer like the eager model; no bundle was written"
    assert expected == "  expected: at most 0.4 of the outputs' range"
    assert got.startswith("  got: ")
    assert float(got.split()[1]) > 0.4
    assert hint.startswith("  help: the first node that differs from onnx-fp32 is ")
    assert {path.name for path in tmp_path.iterdir()} == {"out.bundle.reproduce", "out.bundle.reproduce.py"}


def run_without_pinnace(script: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a script prints where pinnace is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.partition(".")[0] == "pinnace"]:
            patch.setitem(sys.modules, name, None)
        runpy.run_path(str(script))
    return capsys.readouterr().out


def test_the_script_shows_a_failure_on_the_golden_photographs_without_pinnace(
    tiny_request: ExportRequest,
    black: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    request = dataclasses.replace(
        tiny_request, variants=(VariantName("onnx", "fp32"), VariantName("onnx", "int8"))
    )
    message = refusal(
        CheckFailed,
        lambda: export_bundle(request, CPU, tmp_path / "out.bundle", evidence=Evidence(calibrate=black)),
    )
    said = re.search(r"got: (\S+) ", message)
    assert said is not None
    script = tmp_path / "out.bundle.reproduce.py"
    name, *samples = run_without_pinnace(script, capsys).splitlines()
    assert name == "logits"
    assert [line.split(":")[0] for line in samples] == [f"  sample {index}" for index in range(3)]
    assert any(f"off by {said[1]} of the range" in line for line in samples)
    export_bundle(request, CPU, tmp_path / "out.bundle", evidence=Evidence(calibrate=pictures))
    assert not script.exists()
    assert not script.with_suffix("").exists()


def test_the_script_shows_the_photographs_on_which_a_variant_is_worst(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    break_scale(monkeypatch, "stem", np.float32(8))
    status, err = export("bad.bundle", bounds="min_top1_agreement = 0.9")
    assert status == 1
    assert "top-1 agreement of at least 90.0%" in err
    _, *samples = run_without_pinnace(tmp_path / "bad.bundle.reproduce.py", capsys).splitlines()
    assert len(samples) == 4
    differences = [re.search(r"range, (\S+) in the mean", line) for line in samples]
    means = [float(found[1]) for found in differences if found]
    assert means == sorted(means, reverse=True)
    assert means[-1] > 0.5


def labelled(pictures: Path, folder: Path, answers: list[int]) -> Path:
    """The pictures as a tree in which the network is right by definition."""
    for path, answer in zip(sorted(pictures.glob("[0-9]*.png")), answers, strict=True):
        (folder / str(answer)).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / str(answer))
    return folder


def test_a_quantisation_that_loses_more_points_than_allowed_is_refused(
    export: Export, pictures: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert export("good.bundle")[0] == 0
    with Classifier(Bundle.open(tmp_path / "good.bundle"), "onnx-fp32") as fp32:
        answers = [
            fp32.classify(path, 1).predictions[0].index for path in sorted(pictures.glob("[0-9]*.png"))
        ]
    tree = labelled(pictures, tmp_path / "tree", answers)
    asked = ("--images", str(tree), "--max-drop", "5")
    assert export("good.bundle", *asked)[0] == 0
    commonest = max(set(answers), key=answers.count)
    share = answers.count(commonest) / len(answers)
    break_scale(monkeypatch, "head", np.float32(np.arange(5) != commonest))
    status, err = export("bad.bundle", *asked, bounds="")
    assert status == 1
    assert err == (
        f"note: {tmp_path}/bad.bundle.reproduce.py shows it without pinnace\n"
        f"error: onnx-int8 loses {100 * share:.2f} points of top-1 against fp32 on 24 images; "
        "no bundle was written\n"
        "  expected: at most 5 points\n"
        f"  got: {1 - share:.2%}, and 100.00% in fp32\n"
        "  help: give more --calibrate images, another --calibration-method, or leave the precision out\n"
    )
    assert not (tmp_path / "bad.bundle").exists()
    (sample,) = run_without_pinnace(tmp_path / "bad.bundle.reproduce.py", capsys).splitlines()[1:]
    assert sample.endswith(f"expected {commonest}")
    assert f"highest {commonest}," not in sample
