"""A source that is typed as a plain path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pinnace.models.errors import SourceError, UsageError
from pinnace.models.loaders import parse_source
from pinnace.models.loaders.paths import default_name, find_source
from pinnace.models.source import Source
from support.errors import refusal

HUBCONF = """\
dependencies = ["torch"]
import os
import torch
from os.path import join
from net import small as little, _hidden

def tiny(width=4):
    return torch.nn.Linear(3, width)

def _helper():
    return 3
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "name", ["model.pth", "best.pt", "net.onnx", "runs/1/last.ckpt", "no_suffix", "a:b.pt"]
)
def test_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    assert find_source(name) == Source("file", name)
    assert find_source(f"file:{name}") == Source("file", name)


def test_sources_with_their_kind_and_names_of_the_catalogue_stay() -> None:
    for text in ("efficientnet_lite0", "torchvision:resnet18@none", "hub:./nets#tiny", "file:none.pt"):
        assert str(find_source(text)) == text


def test_a_folder_of_hugging_face(tmp_path: Path) -> None:
    (tmp_path / "vit").mkdir()
    (tmp_path / "vit" / "config.json").write_text(json.dumps({"model_type": "vit"}))
    assert str(find_source("vit")) == str(find_source("file:vit")) == "hf:./vit"
    assert str(find_source(str(tmp_path / "vit"))) == f"hf:{tmp_path}/vit"


@pytest.mark.parametrize("text", ["hub_a", "file:hub_a", "hub:hub_a", "hub:./hub_a", "./hub_a"])
def test_a_folder_with_a_hubconf_is_told_as_what_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "hub_a").mkdir()
    (tmp_path / "hub_a" / "hubconf.py").write_text(HUBCONF)
    message = refusal(UsageError, lambda: find_source(text))
    assert message.endswith(
        " is a repository of torch.hub, and has several entry points\n"
        "  expected: hub:./hub_a#ENTRY, with one of little, tiny\n"
        "  help: pinnace export hub:./hub_a#little --trust"
    )


def test_a_local_repository_without_a_dot(tmp_path: Path) -> None:
    (tmp_path / "hub_a").mkdir()
    assert refusal(UsageError, lambda: find_source("hub:hub_a#tiny")) == (
        "hub:hub_a#tiny is no repository on GitHub, but a folder here\n"
        "  help: hub:./hub_a#tiny takes the folder"
    )


def test_a_bundle_and_a_folder_with_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "a.bundle").mkdir()
    (tmp_path / "a.bundle" / "manifest.json").write_text("{}")
    assert refusal(UsageError, lambda: find_source("a.bundle")) == (
        "a.bundle is a bundle already\n  help: pinnace inspect a.bundle, or pinnace serve a.bundle"
    )
    (tmp_path / "runs" / "weights").mkdir(parents=True)
    assert refusal(SourceError, lambda: find_source("runs")).startswith(
        "runs is a folder, and holds no model"
    )
    for name in ("last.pt", "best.pt"):
        (tmp_path / "runs" / "weights" / name).touch()
    assert refusal(UsageError, lambda: find_source("runs")) == (
        "runs is a folder, and nothing says which of its files is the model\n"
        "  expected: one of weights/best.pt, weights/last.pt\n  help: pinnace export runs/weights/best.pt"
    )


def test_a_folder_of_hugging_faces_trainer_names_its_last_checkpoint(tmp_path: Path) -> None:
    for step in (500, 1000, 62):
        run = tmp_path / "run" / f"checkpoint-{step}"
        run.mkdir(parents=True)
        (run / "config.json").write_text('{"model_type": "vit"}')
        for name in ("model.safetensors", "training_args.bin", "optimizer.pt"):
            (run / name).touch()
    assert refusal(UsageError, lambda: find_source("run")) == (
        "run is a folder in which there are 3 of Hugging Face's\n"
        "  expected: one of run/checkpoint-62, run/checkpoint-500, run/checkpoint-1000\n"
        "  help: pinnace export run/checkpoint-1000"
    )
    assert str(find_source("run/checkpoint-1000")) == "hf:./run/checkpoint-1000"


def test_a_saved_model_of_tensorflow(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    message = refusal(SourceError, find_source, str(tmp_path))
    assert message.startswith(f"{tmp_path} is a SavedModel of TensorFlow")
    assert f"python -m tf2onnx.convert --saved-model {tmp_path} --output model.onnx" in message


def test_what_is_not_there(tmp_path: Path) -> None:
    assert refusal(SourceError, lambda: find_source("none.pth")) == f"there is no file {tmp_path}/none.pth"
    (tmp_path / "digits.pt").touch()
    assert refusal(SourceError, lambda: find_source("digts.pt")) == (
        f"there is no file {tmp_path}/digts.pt\n  help: did you mean digits.pt?"
    )
    assert refusal(UsageError, lambda: find_source("google/vit-base")) == (
        "'google/vit-base' is not a model source, and there is no such file\n"
        "  help: hf:google/vit-base for a model of Hugging Face's hub, "
        "hub:google/vit-base#ENTRY for a repository with a hubconf.py"
    )
    assert find_source("nosuch") == Source("catalogue", "nosuch")  # the catalogue says what it has
    assert find_source("x" * 5000).kind == "catalogue"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("file:runs/model.pth", "model"),
        ("file:checkpoint.pth.tar", "checkpoint"),
        ("file:net", "net"),
        ("torchvision:resnet18@none", "resnet18"),
        ("hub:owner/repo:main#tiny", "tiny"),
        ("efficientnet_lite0", "efficientnet_lite0"),
        ("hf:google/vit-base", "vit-base"),
    ],
)
def test_the_name_of_a_bundle_that_was_given_none(source: str, name: str) -> None:
    kind, _, rest = source.partition(":")
    parsed = Source(kind, rest) if kind == "hf" else parse_source(source)
    assert default_name(parsed) == f"{name}.bundle"
