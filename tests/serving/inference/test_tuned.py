"""A profile as settings of a server: taken over, passed on, and left out by a reload without its variant."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from pinnace.models import profile
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.profile import Configuration, Profile, ProfileFigures, this_machine
from pinnace.serving.inference.layout import plan
from pinnace.serving.inference.registry import Registry
from pinnace.serving.inference.tuned import pass_on, with_profile
from pinnace.serving.settings import load_settings
from support.tiny_bundle import build_bundle


def with_second_variant(folder: Path) -> Bundle:
    """The tiny bundle with its file once more, as `onnx-second`."""
    opened = Bundle.open(build_bundle(folder))
    shutil.copy(folder / "model.onnx", folder / "second.onnx")
    (first,) = opened.manifest.variants
    second = dataclasses.replace(first, name="onnx-second", file="second.onnx")
    manifest = dataclasses.replace(opened.manifest, variants=(first, second))
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return Bundle.open(folder)


def tuned(bundle: Bundle, name: str = profile.FILE_NAME, **machine: object) -> Path:
    """A profile of the second variant."""
    made = Profile(
        profile.SCHEMA_VERSION,
        bundle.version,
        dataclasses.replace(this_machine("onnxruntime"), **machine),
        Configuration("onnx-second", "onnxruntime", threads=1, processes=1, batch=4),
        "throughput",
        ProfileFigures(100.0, 12.5),
        "2026-11-26T00:00:00Z",
        "0.1.0",
    )
    return profile.write(made, bundle.folder, name)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle with a profile, and the environment as it was afterwards."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    made = with_second_variant(tmp_path / "tiny.bundle")
    tuned(made)
    return made


def test_the_profile_gives_the_settings_that_are_not_given(bundle: Bundle) -> None:
    settings, (sentence,) = with_profile(load_settings(bundle=(bundle.folder,), max_batch=2))
    assert (settings.variant, settings.runtime, settings.workers) == ("onnx-second", "onnxruntime", 1)
    assert settings.max_batch == 2
    assert "runs as tuned for this machine: onnx-second in onnxruntime, 1 process, 1 thread" in sentence


@pytest.mark.parametrize(("device", "used"), [("cpu", True), ("cuda", False)])
def test_a_device_leaves_the_profile_out_only_where_it_runs_on_another(
    bundle: Bundle, device: str, used: bool
) -> None:
    settings, sentences = with_profile(load_settings(bundle=(bundle.folder,), device=device))
    assert (settings.variant == "onnx-second", len(sentences) == 1) == (used, used)


def test_the_profile_of_this_machine_is_found_among_those_of_others(bundle: Bundle) -> None:
    shutil.move(bundle.folder / "profile.json", bundle.folder / "profile.here.json")
    path = tuned(bundle, cpu="Abacus")
    settings, _ = with_profile(load_settings(bundle=(bundle.folder,)))
    assert settings.variant == "onnx-second"
    (bundle.folder / "profile.here.json").unlink()
    settings, (sentence,) = with_profile(load_settings(bundle=(bundle.folder,)))
    assert settings.variant is None
    assert sentence.startswith(f"{path} is not used: it was made on another machine: Abacus, and this is ")
    assert sentence.endswith(f"; renew it with: pinnace tune {bundle.folder}")


def test_a_reload_that_lacks_the_variant_goes_on_without_the_profile(bundle: Bundle) -> None:
    before = load_settings(bundle=(bundle.folder,))
    settings, _ = with_profile(before)
    pass_on(settings, before)
    again = load_settings(bundle=(bundle.folder,))  # as a worker reads them
    assert (again.variant, again.profile, again.max_batch) == ("onnx-second", False, 4)
    registry = Registry.open(again, plan(again))
    try:
        assert registry.model().engine.model.variant.name == "onnx-second"
        assert registry.model().engine.note is None
        shutil.rmtree(bundle.folder)
        fresh = Bundle.open(build_bundle(bundle.folder, created="2026-03-01T00:00:00Z"))
        assert asyncio.run(registry.reload("tiny"))
        assert registry.model().version == fresh.version
        assert registry.model().engine.model.variant.name == "onnx-fp32"
        assert registry.model().engine.note == (
            f"tiny goes on without its profile: version {fresh.version} has no onnx-second in onnxruntime; "
            f"renew it with: pinnace tune {bundle.folder}"
        )
    finally:
        registry.close()


def test_a_reload_that_lacks_a_variant_that_the_user_named_is_refused(bundle: Bundle) -> None:
    settings = load_settings(bundle=(bundle.folder,), variant="onnx-second")
    registry = Registry.open(settings, plan(settings))
    try:
        shutil.rmtree(bundle.folder)
        build_bundle(bundle.folder, created="2026-03-01T00:00:00Z")
        with pytest.raises(Exception, match="was not reloaded, and version"):
            asyncio.run(registry.reload("tiny"))
    finally:
        registry.close()
