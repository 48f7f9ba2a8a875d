"""Engines as candidates: what cannot be built is listed, what can is built once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pinnace.cli.tune import engines
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import CheckFailed
from pinnace.models.progress import ignore
from pinnace.models.runtimes import cuda
from pinnace.models.runtimes.tensorrt import TensorRt
from support.tiny_bundle import build_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A tiny bundle."""
    return Bundle.open(build_bundle(tmp_path / "tiny.bundle"))


def test_where_there_is_no_gpu_each_builder_is_listed_with_its_reason(bundle: Bundle) -> None:
    if cuda.unavailable_reason() is None:
        pytest.skip("there is a GPU here")
    same, out, notes = engines.with_engines(bundle, (), ignore, exact=False)
    assert same == bundle
    assert notes == []
    assert [each.what for each in out] == ["engines of tensorrt", "engines of tensorrt_rtx"]
    assert all(each.reason for each in out)
    assert engines.with_engines(bundle, ("onnxruntime",), ignore, exact=False)[1] == []


def test_what_can_be_built_is_built_and_what_fails_is_listed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def build(bundle: Bundle, source: Any, builder: Any, *, progress: Any) -> Any:
        asked.append(source.name)
        if len(asked) == 1:
            return source
        raise CheckFailed("it has no kernel")

    monkeypatch.setattr(engines, "builders", lambda: {"tensorrt": TensorRt})
    monkeypatch.setattr(engines, "build_unavailable_reason", lambda builder: None)
    monkeypatch.setattr(TensorRt, "unavailable_reason", classmethod(lambda cls: None))
    monkeypatch.setattr(engines, "build_variant", build)
    _, out, notes = engines.with_engines(bundle, (), ignore, exact=True)
    assert (asked, out) == (["onnx-fp32"], [])
    assert notes == [f"onnx-fp32 was built for this machine and added to {bundle.folder}"]
    _, out, notes = engines.with_engines(bundle, (), ignore, exact=True)
    assert [(each.what, each.reason) for each in out] == [
        ("an engine of tensorrt from onnx-fp32", "it has no kernel")
    ]
