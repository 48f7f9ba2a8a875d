"""Several bundles in one server, asked by name."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from pinnace.models.classifier import Classifier
from pinnace.serving.errors import Overloaded, UnknownModel
from pinnace.serving.http.request_body import Upload
from pinnace.serving.inference.layout import plan
from pinnace.serving.inference.registry import Registry
from pinnace.serving.settings import load_settings
from support.command_line import PINNACE
from support.ports import free_port
from support.tiny_bundle import build_bundle, encode

pytestmark = pytest.mark.slow

BENTOML = [str(Path(sys.executable).with_name("bentoml")), "serve"]
RED = (250, 10, 20)
LABELS = ["reddish", "greenish", "bluish", "bright", "dark"]


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = build_bundle(tmp_path_factory.mktemp("second") / "second.bundle", name="a second/model")
    return path


@pytest.fixture(scope="module")
def two(start_server: Any, bundle: Path, second: Path) -> Any:
    """A server of two models, started as BentoML is."""
    server = start_server(BENTOML, bundle=f"{bundle}:{second}", workers=1, concurrency=1, drain=0)
    server.wait_until_ready()
    yield server
    server.stop()


def test_each_answers_under_its_name(two: Any) -> None:
    image = encode(RED)
    with httpx.Client(base_url=two.url, timeout=20) as client:
        assert client.get("/").json()["models"] == ["tiny", "a second/model"]
        for path, name in [
            ("/classify", "tiny"),
            ("/models/tiny/classify", "tiny"),
            ("/models/a%20second%2Fmodel/classify", "a second/model"),
        ]:
            answer = client.post(path, content=image).json()
            assert (answer["model"], answer["predictions"][0]["label"]) == (name, "reddish")
        batch = client.post("/models/a%20second%2Fmodel/classify_batch", files=[("images", image)] * 2)
        assert [one["model"] for one in batch.json()["results"]] == ["a second/model"] * 2
        for verb in ("classify", "classify_batch", "reload"):
            missing = client.post(f"/models/third/{verb}", content=image)
            assert missing.status_code == 404
            assert missing.json()["error"] == {
                "code": "unknown_model",
                "message": "no model is named 'third' here",
                "hint": "expected: tiny or a second/model",
            }


def test_models_lists_all_that_there_is_to_know(two: Any, second: Path) -> None:
    tiny, other = httpx.get(f"{two.url}/models").json()["models"]
    assert (tiny["name"], other["name"]) == ("tiny", "a second/model")
    assert len(tiny["version"]) == 12
    assert tiny["version"] != other["version"]
    assert other["created"] == json.loads((second / "manifest.json").read_text())["created"]
    assert other["labels"] == LABELS
    assert other["preprocess"]["resize"] == [8, 8]
    (variant,) = other["variants"]
    assert (variant["name"], variant["precision"]) == ("onnx-fp32", "fp32")
    assert variant["parity"]["samples"] == other["parity"]["samples"] == 2


def test_model_without_a_server_is_wrong_usage(bundle: Path, tmp_path: Path) -> None:
    command = [*PINNACE, "classify", "x.png", "--bundle", str(bundle), "--model", "tiny"]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert out.returncode == 2
    assert "--model selects one of a server's models, so it needs --url" in out.stderr


def test_two_bundles_of_one_name_are_refused_before_anything_starts(bundle: Path, tmp_path: Path) -> None:
    twin = build_bundle(tmp_path / "twin.bundle")
    command = [*PINNACE, "serve", str(bundle), str(twin), "--port", str(free_port())]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert out.returncode == 2
    assert out.stderr.replace("\n", " ").startswith(f"error: two bundles are named tiny: {bundle} and {twin}")


def test_all_models_share_one_admission(bundle: Path, second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    infer = Classifier.infer
    settings = load_settings(bundle=(bundle, second), concurrency=1, queue=1)
    registry = Registry.open(settings, plan(settings))
    monkeypatch.setattr(Classifier, "infer", lambda self, batch: (time.sleep(0.2), infer(self, batch))[1])
    upload = Upload(encode(RED), None)

    async def many() -> list[Any]:
        names = ("tiny", "a second/model", "tiny", "a second/model")
        work = [registry.model(name).classify(upload) for name in names]
        return await asyncio.gather(*work, return_exceptions=True)

    outcomes = asyncio.run(many())
    # One in work and one that waits, whichever models they are for; in work one at a time.
    assert [getattr(outcome, "model", None) for outcome in outcomes[:2]] == ["tiny", "a second/model"]
    assert all(isinstance(outcome, Overloaded) for outcome in outcomes[2:])
    assert outcomes[1].timing_ms.queue >= 190
    assert registry.admission.images == 0
    with pytest.raises(UnknownModel):
        registry.model("third")
    registry.close()
