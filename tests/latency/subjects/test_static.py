"""The network of a bundle in eager torch beside its static forms."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pinnace.latency.subjects import compiled
from pinnace.latency.subjects.compiled import FROM_SOURCE
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.runtimes.base import RuntimeOptions

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_windows")]

BRIEF = ("--duration", "0.2", "--min-queries", "5", "--rounds", "1", "--threads", "1")


@pytest.fixture
def squeezenet(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that says it comes from a network of torchvision."""
    copy = shutil.copytree(bundle, tmp_path / "copy.bundle")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["source"] = "torchvision:squeezenet1_1@none"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def test_exported_and_eager_answer_the_same(squeezenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are random: both get those of one seed."""
    import torch

    opened = Bundle.open(squeezenet)
    name = opened.manifest.signature.inputs[0].name
    shape = opened.manifest.signature.inputs[0].with_batch(2)
    feeds = {name: np.random.default_rng(0).normal(size=shape).astype(np.float32)}
    answers = []
    for way in ("torch", "torch.export"):
        torch.manual_seed(0)
        subject = FROM_SOURCE[way](opened, RuntimeOptions(1, batch=2))
        answers.append(next(iter(subject._run(feeds).values())))
        subject.close()
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-3, atol=1e-4)


def test_what_cannot_be_compiled_here_says_why(
    pinnace, squeezenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    done = pinnace("bench", squeezenet, *BRIEF, "--static", "--json")
    assert done.status == 0, done.err
    rows = {row["variant"]: row for row in done.json["results"]}
    assert {"eager", "torchscript-fp32", "onnx-fp32"} <= set(rows)
    assert {"torch.export", "pt2-fp32"} & set(rows)
    skipped = [each["message"] for each in done.json["warnings"] if each["code"] == "skipped"]
    assert sum("there is no no-such-compiler" in message for message in skipped) == 2
    assert rows["torchscript-fp32"]["ratio"]["baseline"] == "eager torch"


def test_a_network_that_torch_cannot_follow_says_why(
    pinnace, squeezenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, module: object, example: object) -> None:
        raise RuntimeError("no graph")

    monkeypatch.setattr(compiled.CompiledTorch, "_made", fail)
    monkeypatch.setattr(compiled.AheadTorch, "_made", fail)
    done = pinnace("bench", squeezenet, *BRIEF, "--static", "--json")
    assert done.status == 0, done.err
    skipped = " ".join(each["message"] for each in done.json["warnings"])
    assert "torch.compile: torch.compile fails with this network: no graph" in skipped
    assert "AOTInductor fails with this network: no graph" in skipped


def test_rows_of_its_own_go_with_no_others(pinnace, bundle: Path) -> None:
    done = pinnace("bench", bundle, "--static", "--variant", "onnx-fp32")
    assert done.status == 2
    assert "--static has its own rows" in done.err
