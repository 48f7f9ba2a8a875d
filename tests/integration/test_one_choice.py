"""Every command answers with the same variant in the same runtime: one bundle, one machine, one choice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from pinnace.models import profile
from pinnace.models.answer import Embedding
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.classifier import Classifier
from pinnace.models.embedder import Embedder
from pinnace.models.errors import CheckFailed
from pinnace.models.image.decode import ImageSource
from pinnace.models.open_model import AnsweringModel
from pinnace.models.profile import Configuration, Profile, ProfileFigures, this_machine
from pinnace.models.runtimes import openvino
from pinnace.models.runtimes.openvino import OpenVino
from pinnace.serving.inference import open_checked
from pinnace.serving.inference.layout import plan
from pinnace.serving.inference.registry import Registry, preflight
from pinnace.serving.inference.tuned import with_profile
from pinnace.serving.settings import ServerSettings, load_settings
from support.command_line import CommandLine
from support.tiny_bundle import LABELS, build_bundle

pytestmark = pytest.mark.skipif(
    OpenVino.unavailable_reason() is not None,
    reason="there is no choice without openvino, which is not installed",
)

BRIEF = ("--duration", "0.1", "--rounds", "1", "--json")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A tiny bundle for both runtimes."""
    return rewritten(build_bundle(tmp_path / "tiny.bundle"), runtimes=("onnxruntime", "openvino"))


def rewritten(folder: Path, **changes: object) -> Bundle:
    """The bundle in a folder with another manifest."""
    manifest = dataclasses.replace(Bundle.open(folder).manifest, **changes)
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return Bundle.open(folder)


def tune(bundle: Bundle, runtime: str) -> None:
    """Write a profile that holds here."""
    machine = this_machine(runtime)
    configuration = Configuration("onnx-fp32", runtime)
    made = ("throughput", ProfileFigures(100.0, 12.5), "2026-11-26T00:00:00Z", "0.1.0")
    written = Profile(profile.SCHEMA_VERSION, bundle.version, machine, configuration, *made)
    profile.write(written, bundle.folder)


@pytest.mark.parametrize(
    ("avx512", "tuned", "expected"),
    [
        (False, None, "onnxruntime"),
        (True, None, "openvino"),
        (True, "onnxruntime", "onnxruntime"),
        (False, "openvino", "openvino"),
    ],
)
def test_all_choose_alike(
    pinnace: CommandLine,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    avx512: bool,
    tuned: str | None,
    expected: str,
) -> None:
    monkeypatch.setattr(openvino, "has_avx512", lambda: avx512)
    images = tmp_path / "images"
    for label in LABELS[:2]:
        (images / label).mkdir(parents=True)
        Image.new("RGB", (20, 14), (200, 30, 30)).save(images / label / "one.png")
    if tuned is not None:
        tune(bundle, tuned)
    folder, image = bundle.folder, images / LABELS[0] / "one.png"
    (answer,) = pinnace("classify", image, "--bundle", folder, "--json").json
    (row,) = pinnace("bench", folder, *BRIEF).json["results"]
    judged = pinnace("eval", folder, "--images", images, "--json").json
    settings, sentences = with_profile(load_settings(bundle=folder))
    sentences += preflight(settings, plan(settings))
    found = {
        "classify": (answer["variant"], answer["runtime"]),
        "bench": (row["variant"], row["runtime"]),
        "eval": (judged["answers_with"]["variant"], judged["answers_with"]["runtime"]),
        "serve": served(settings),
    }
    if tuned is None:
        assert sentences == [f"tiny answers with onnx-fp32 in {expected}"]
        with Classifier(bundle) as classifier:
            found["Python"] = (classifier.variant.name, classifier.runtime.name)
    else:
        (sentence,) = sentences
        assert sentence.startswith("tiny runs as tuned for this machine")
    (folder / "profile.json").unlink(missing_ok=True)
    headless = rewritten(folder, labels=None, outputs=Outputs("embedding", name="logits"))
    if tuned is not None:
        tune(headless, tuned)
    embed, opened = Embedder.embed, []

    def watched(self: Embedder, source: ImageSource) -> Embedding:
        opened.append((self.variant.name, self.runtime.name))
        return embed(self, source)

    monkeypatch.setattr(Embedder, "embed", watched)
    done = pinnace("embed", image, "--bundle", folder)
    (found["embed"],) = opened
    assert ("runs as tuned" in done.err) == (tuned is not None)
    assert found == dict.fromkeys(found, ("onnx-fp32", expected))


def test_a_runtime_that_answers_wrongly_is_not_served(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = open_checked.self_check

    def check(model: AnsweringModel) -> float:
        if model.runtime.name == "openvino":
            raise CheckFailed("openvino is wrong")
        return right(model)

    monkeypatch.setattr(openvino, "has_avx512", lambda: True)
    monkeypatch.setattr(open_checked, "self_check", check)
    assert served(load_settings(bundle=bundle.folder)) == ("onnx-fp32", "onnxruntime")
    assert caplog.messages == ["openvino is wrong; onnxruntime answers instead"]
    with pytest.raises(CheckFailed, match="openvino is wrong"):
        served(load_settings(bundle=bundle.folder, runtime="openvino"))


def served(settings: ServerSettings) -> tuple[str, str]:
    """The variant and the runtime that a server process answers with."""
    registry = Registry.open(settings, plan(settings))
    try:
        model = registry.model().engine.model
        return model.variant.name, model.runtime.name
    finally:
        registry.close()
