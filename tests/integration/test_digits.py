"""The tutorial, typed command by command; then every held-out image, in every way there is to ask."""

from __future__ import annotations

import json
import re
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pinnace.models.toml import read_toml
from support import pages

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "digits"
TUTORIAL = ROOT / "docs" / "tutorial.md"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial uses curl"),
]


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, dict[str, str]]]:
    """The reader after the tutorial, with the server still running, and what each command printed."""
    home = tmp_path_factory.mktemp("tutorial")
    written = ("digits.pt", "labels.txt", "heldout", "calibrate", "*.bundle", "__pycache__")
    shutil.copytree(EXAMPLE, home / "digits", ignore=shutil.ignore_patterns(*written))
    reader = pages.Reader(home / "digits", home)
    try:
        yield reader, {command: reader.type(command) for command in pages.commands(TUTORIAL)[1:]}
    finally:
        reader.leave()


@pytest.fixture(scope="module")
def images(typed: tuple[Any, dict[str, str]]) -> list[Path]:
    return sorted(typed[0].folder.glob("heldout/*/*.png"))


@pytest.fixture(scope="module")
def eager(typed: tuple[Any, dict[str, str]], images: list[Path]) -> list[int]:
    """The class that the eager network gives each held-out image, with no code of ours."""
    folder = typed[0].folder
    network = runpy.run_path(str(folder / "models" / "net.py"))["build"]()
    network.load_state_dict(torch.load(folder / "digits.pt", weights_only=True))
    network.eval()
    spec = read_toml(folder / "preprocess.toml", "preprocessing")
    pixels = np.stack([np.asarray(Image.open(path)) for path in images])
    inputs = (torch.from_numpy(pixels)[:, None] / 255 - torch.tensor(spec["mean"])) / torch.tensor(
        spec["std"]
    )
    with torch.inference_mode():
        return network(inputs).argmax(dim=1).tolist()


def test_the_tutorial_changes_into_the_example() -> None:
    assert pages.commands(TUTORIAL)[0] == f"cd {EXAMPLE.relative_to(ROOT)}"


def test_the_tutorial_has_every_step(typed: tuple[Any, dict[str, str]]) -> None:
    steps = [" ".join(command.split()[:2]) for command in typed[1]]
    assert list(dict.fromkeys(step for step in steps if step.startswith("pinnace"))) == [
        "pinnace export",
        "pinnace verify",
        "pinnace classify",
        "pinnace serve",
        "pinnace eval",
    ]


def test_the_tutorial_shows_what_comes(typed: tuple[Any, dict[str, str]]) -> None:
    typed[0].check_outputs(TUTORIAL)


def test_the_tutorial_shows_the_preprocessing_of_the_example() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    assert (EXAMPLE / "preprocess.toml").read_text(encoding="utf-8").endswith(shown)


def test_the_classes_have_the_names_of_labels_txt(
    typed: tuple[Any, dict[str, str]], images: list[Path]
) -> None:
    labels = (typed[0].folder / "labels.txt").read_text().splitlines()
    assert (labels[0], labels[9]) == ("0-zero", "9-nine")
    assert {path.parent.name for path in images} == set(labels)
    curl = next(printed for command, printed in typed[1].items() if command.startswith("curl"))
    (prediction,) = json.loads(curl)["predictions"]
    assert prediction["label"] == labels[prediction["index"]]


@pytest.mark.parametrize("variant", ["onnx-fp32", "torchscript-fp32"])
def test_every_variant_is_as_accurate_as_training_said(
    typed: tuple[Any, dict[str, str]], images: list[Path], eager: list[int], variant: str
) -> None:
    reader, printed = typed
    asked = ["--bundle", "digits.bundle", "--variant", variant, "--threads", "1", "--top-k", "1", "--json"]
    done = reader.run(["pinnace", "classify", *map(str, images), *asked])
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert {answer["variant"] for answer in answers} == {variant}
    assert [answer["predictions"][0]["index"] for answer in answers] == eager
    labels = [answer["predictions"][0]["label"] for answer in answers]
    right = sum(label == path.parent.name for label, path in zip(labels, images, strict=True))
    assert printed["python train.py"].startswith(f"held-out accuracy: {right} of {len(images)} = ")
    assert right / len(images) > 0.95


def test_int8_is_hardly_less_accurate(typed: tuple[Any, dict[str, str]], images: list[Path]) -> None:
    reader, printed = typed
    asked = ["digits-int8.bundle", "--images", "heldout", "--runtime", "onnxruntime", "--json"]
    done = reader.run(["pinnace", "eval", *asked])
    assert done.returncode == 0, done.stderr
    top1 = {row["name"]: row["top1"] for row in json.loads(done.stdout)["variants"]}
    right = {name: round(share * len(images)) for name, share in top1.items()}
    assert printed["python train.py"].startswith(f"held-out accuracy: {right['onnx-fp32']} of {len(images)} ")
    assert top1["onnx-int8"] >= top1["onnx-fp32"] - 0.01
    folder = reader.folder / "digits-int8.bundle"
    assert (folder / "onnx-int8.onnx").stat().st_size < (folder / "onnx-fp32.onnx").stat().st_size / 2


def test_the_server_gives_the_same_classes(
    typed: tuple[Any, dict[str, str]], images: list[Path], eager: list[int]
) -> None:
    reader, _ = typed
    asked = ["--url", reader.url, "--top-k", "1", "--json"]
    done = reader.run(["pinnace", "classify", *map(str, images[::10]), *asked])
    assert done.returncode == 0, done.stderr
    assert [answer["predictions"][0]["index"] for answer in json.loads(done.stdout)] == eager[::10]


def test_the_python_of_the_tutorial_asks_the_server(typed: tuple[Any, dict[str, str]]) -> None:
    reader, _ = typed
    (code,) = re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    done = reader.run(["python", "-c", code.replace(pages.DOCUMENTED, reader.url)])
    assert done.returncode == 0, done.stderr
    assert f"It prints `{done.stdout.strip()}`." in TUTORIAL.read_text(encoding="utf-8")
