"""Class names and preprocessing that exporters write beside the network."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from pinnace.models.image.preprocess import Preprocess
from pinnace.models.loaders import load
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.metadata import read_config, read_metadata
from pinnace.models.source import Source

ULTRALYTICS = {
    "author": "Ultralytics",
    "task": "classify",
    "imgsz": "[64, 64]",
    "names": "{0: 'cat', 1: 'dog'}",
    "stride": "1",
}
EXPECTED = Preprocess(64, "bilinear", (64, 64), "RGB", (0.0,) * 3, (1.0,) * 3)


def test_ultralytics_onnx() -> None:
    facts = read_metadata(ULTRALYTICS)
    assert (facts.labels, facts.preprocess) == (("cat", "dog"), EXPECTED)
    assert facts.notes == (
        "2 class names were found in the file (names)",
        "the preprocessing is that of Ultralytics's own validation, as the file says",
    )


def test_names_in_one_text() -> None:
    for text in ("cat, dog", "cat\ndog\n", "cat,dog"):
        assert read_metadata({"classes": text}).labels == ("cat", "dog")
    assert read_metadata({"names": "net"}).labels is None


def test_names_of_others_and_nothing() -> None:
    facts = read_metadata({"classes": '["cat", "dog"]', "imgsz": "[64, 64]"})
    assert (facts.labels, facts.preprocess, facts.size) == (("cat", "dog"), None, None)
    assert read_metadata({}).notes == read_config("no json").notes == read_config("[]").notes == ()


def test_ultralytics_torchscript(tmp_path: Path) -> None:
    network = torch.jit.script(torch.nn.Conv2d(3, 2, 3))
    config = {**ULTRALYTICS, "imgsz": [64, 64], "names": {"0": "cat", "1": "dog"}}
    torch.jit.save(network, tmp_path / "best.torchscript", _extra_files={"config.txt": json.dumps(config)})
    loaded = load(LoadRequest(Source("file", str(tmp_path / "best.torchscript"))))
    assert isinstance(loaded, LoadedModel)
    assert (loaded.labels, loaded.preprocess) == (("cat", "dog"), EXPECTED)
