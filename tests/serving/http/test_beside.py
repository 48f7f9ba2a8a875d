"""Another variant of a bundle that is served, under a name of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import UsageError
from pinnace.serving.inference.another_variant import beside_it
from pinnace.serving.inference.layout import plan
from pinnace.serving.inference.registry import Registry
from pinnace.serving.settings import load_settings
from support.command_line import PINNACE
from support.tiny_bundle import build_bundle, encode

FIRST, SECOND = "onnx-fp32", "onnx-second"


@pytest.fixture
def both(tmp_path: Path) -> Path:
    return build_bundle(tmp_path / "tiny.bundle", others=(SECOND,))


def test_two_variants_answer_side_by_side(start_server: Any, both: Path) -> None:
    command = [*PINNACE, "serve", str(both), "--beside", SECOND]
    server = start_server(command, workers=1, concurrency=1, drain=0)
    server.wait_until_ready()
    with httpx.Client(base_url=server.url, timeout=20) as client:
        assert client.get("/").json()["models"] == ["tiny", "tiny@onnx-second"]
        variants = {}
        for path in ("/classify", "/models/tiny/classify", "/models/tiny@onnx-second/classify"):
            answer = client.post(path, content=encode((250, 10, 20))).json()
            variants[path] = (answer["model"], answer["variant"], answer["predictions"][0]["label"])
        assert list(variants.values()) == [
            ("tiny", FIRST, "reddish"),
            ("tiny", FIRST, "reddish"),
            ("tiny@onnx-second", SECOND, "reddish"),
        ]
        assert 'pinnace_images_total{model="tiny@onnx-second"' in client.get("/metrics").text
    server.stop()


def test_it_is_reloaded_as_it_was_opened(both: Path, tmp_path: Path) -> None:
    settings = load_settings(bundle=(both,), beside=(SECOND,), concurrency=1)
    registry = Registry.open(settings, plan(settings))
    name = "tiny@onnx-second"
    try:
        assert asyncio.run(registry.reload(name)) is False
        both.rename(tmp_path / "old")
        build_bundle(both, others=(SECOND,), created="2026-01-02T00:00:00Z")
        before = registry.model(name).version
        assert asyncio.run(registry.reload(name)) is True
        model = registry.model(name).engine.model
        assert model.bundle.version != before
        assert (model.bundle.name, model.variant.name) == (name, SECOND)
    finally:
        registry.close()


def test_a_variant_that_is_not_there_ends_the_start(both: Path) -> None:
    settings = load_settings(bundle=(both,), beside=("onnx-int8",), concurrency=1)
    with pytest.raises(UsageError, match="onnx-int8"):
        Registry.open(settings, plan(settings))


def test_the_runtime_is_kept_where_it_reads_the_variant(both: Path) -> None:
    opened = Bundle.open(both)
    for runtime, kept in (("onnxruntime", "onnxruntime"), ("torchscript", None)):
        named, settings = beside_it(opened, load_settings(bundle=(both,), runtime=runtime), SECOND)
        assert (named.name, settings.variant, settings.runtime) == ("tiny@onnx-second", SECOND, kept)


def test_names_are_separated_by_commas_and_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINNACE_BESIDE", "onnx-int8, onnx-fp16")
    settings = load_settings()
    assert settings.beside == ("onnx-int8", "onnx-fp16")
    assert settings.environment()["PINNACE_BESIDE"] == "onnx-int8,onnx-fp16"
