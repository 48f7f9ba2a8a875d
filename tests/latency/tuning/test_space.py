"""What may race on this machine, and why the rest may not."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from pinnace.latency.tuning.space import Pair, configurations, pairs_of, shares
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.profile import Configuration
from pinnace.models.runtimes import all_runtimes
from support.tiny_bundle import build_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A tiny bundle."""
    return Bundle.open(build_bundle(tmp_path / "tiny.bundle"))


def test_onnx_runtime_takes_part_on_cuda_where_it_has_the_provider(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = Pair("onnx-fp32", "onnxruntime", "cuda")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    space = pairs_of(bundle, runtimes=["onnxruntime"])
    assert space.pairs == (Pair("onnx-fp32", "onnxruntime"),)
    assert [(each.what, each.reason) for each in space.excluded] == [
        ("onnx-fp32 in onnxruntime on cuda", "this onnxruntime has no CUDAExecutionProvider")
    ]
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    space = pairs_of(bundle, runtimes=["onnxruntime"])
    assert (space.pairs[1], space.excluded) == (cuda, ())
    found = configurations(bundle, space.pairs, all_runtimes(), cpus=4)
    # A second process would hold a second copy of the model on the GPU.
    assert [each for each in found if each.device == "cuda"] == [
        Configuration("onnx-fp32", "onnxruntime", batch=batch, device="cuda") for batch in (1, 4, 16)
    ]
    assert str(found[-1]) == "onnx-fp32 in onnxruntime on cuda, 1 process, 1 thread, batch 16"
    assert found[-1].command("b").endswith("--workers 1 --threads 1 --device cuda")
    assert len(found) == 3 * len(shares(4)) + 3


def test_without_images_only_what_is_exact_takes_part(bundle: Bundle) -> None:
    less = [name for name, kind in all_runtimes().items() if kind.opt_in and "onnx" in kind.formats]
    here = [name for name in less if all_runtimes()[name].unavailable_reason() is None]
    assert {pair.runtime for pair in pairs_of(bundle, exact=True).pairs}.isdisjoint(less)
    assert {pair.runtime for pair in pairs_of(bundle).pairs} >= set(here)


@pytest.mark.parametrize(
    ("cpus", "expected"),
    [(1, [(1, 1)]), (2, [(1, 1), (1, 2), (2, 1)]), (6, [(1, 1), (1, 6), (2, 1), (2, 3), (4, 1), (6, 1)])],
)
def test_threads_and_processes(cpus: int, expected: list[tuple[int, int]]) -> None:
    assert shares(cpus) == expected
