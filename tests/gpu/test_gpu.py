"""On a real GPU: engines are built, run, compared and timed; so are ONNX Runtime and TorchScript on CUDA.

    pytest tests/gpu

`PINNACE_GPU_BUNDLE=DIR` makes the last test report the latency of that bundle instead of the tiny network's.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pinnace.export.engines.build import build_unavailable_reason, build_variant, builders, sources
from pinnace.export.validation import parity
from pinnace.export.validation.verify import verify_bundle
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import Variant
from pinnace.models.classifier import Classifier
from pinnace.models.errors import BundleError, UsageError
from pinnace.models.install import install_line
from pinnace.models.runtimes import cuda, runtimes_for
from pinnace.models.runtimes.base import Runtime, RuntimeOptions
from pinnace.models.runtimes.tensorrt import TensorRt
from pinnace.models.selection import open_bundle, open_variant
from pinnace.serving.inference.layout import plan
from pinnace.serving.inference.registry import Registry
from pinnace.serving.settings import load_settings

PRECISIONS = ("fp32", "fp16", "int8")
CUDA = RuntimeOptions(device="cuda")
WARM_UPS, RUNS = 50, 300


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3, 16, 16)).astype(np.float32)


def deviation(bundle: Bundle, runtime: Runtime) -> parity.Parity:
    inputs, outputs = bundle.golden()
    return parity.measure(runtime, inputs, outputs, meaning=bundle.outputs)


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def builder(request: pytest.FixtureRequest) -> type[TensorRt]:
    kind = builders()[request.param]
    if (problem := build_unavailable_reason(kind) or kind.unavailable_reason()) is not None:
        pytest.skip(f"{kind.name}: {problem}")
    return kind


@pytest.fixture
def bundle(precisions: Bundle, tmp_path: Path) -> Bundle:
    return Bundle.open(shutil.copytree(precisions.folder, tmp_path / "tiny.bundle"))


def need(runtime: str) -> None:
    if runtime == "onnxruntime":
        onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            pytest.skip(f"this onnxruntime has no CUDA provider: {install_line('gpu')}")
    else:
        torch = pytest.importorskip("torch", reason="torch is not installed")
        if not torch.cuda.is_available():
            pytest.skip("this torch sees no CUDA device")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_engine_is_built_run_and_proved(bundle: Bundle, builder: type[TensorRt], precision: str) -> None:
    source = bundle.variant(f"onnx-{precision}")
    built = build_variant(bundle, source, builder)
    gpu = cuda.gpu()
    assert built.engine is not None
    assert (built.engine.gpu, built.engine.compute_capability) == (gpu.name, gpu.compute_capability)
    assert (built.engine.driver, built.engine.version) == (gpu.driver, builder.version())
    assert built.parity is not None
    assert parity.excess(built.parity, source.tolerance) is None
    after = Bundle.open(bundle.folder)
    assert after.manifest.variants[0].name == f"{builder.name}-{precision}"
    (verdict,) = verify_bundle(after, variant=built.name)
    assert verdict.passed is True


def test_an_fp32_engine_is_as_exact_as_fp32_without_tf32(bundle: Bundle, builder: type[TensorRt]) -> None:
    built = build_variant(bundle, bundle.variant("onnx-fp32"), builder)
    assert built.parity is not None
    assert built.parity.max_rel < 1e-4  # TF32 is off by about 1e-3


def test_an_engine_keeps_the_contract(bundle: Bundle, builder: type[TensorRt]) -> None:
    build_variant(bundle, bundle.variant("onnx-fp32"), builder)
    variant, runtime = open_bundle(Bundle.open(bundle.folder))
    assert variant.name == f"{builder.name}-fp32"
    with runtime:
        first = runtime.run({"input": images(2, seed=1)})["logits"]
        kept = first.copy()
        batches = [images(1 + seed % 16, seed) for seed in range(48)]
        want = [runtime.run({"input": batch})["logits"] for batch in batches]
        np.testing.assert_array_equal(first, kept)
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(lambda batch: runtime.run({"input": batch})["logits"], batches))
        for one, other in zip(want, got, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        with pytest.raises(UsageError, match="the engine was not built for this shape of input"):
            runtime.run({"input": images(17)})
        runtime.run({"input": images(16)})
    runtime.close()
    np.testing.assert_array_equal(first, kept)


def test_opening_and_closing_many_times_gives_the_memory_back(
    bundle: Bundle, builder: type[TensorRt]
) -> None:
    built = build_variant(bundle, bundle.variant("onnx-fp32"), builder)
    bundle = Bundle.open(bundle.folder)

    def free() -> int:
        runtime = cuda.bindings()
        assert runtime is not None
        status, available, _ = runtime.cudaMemGetInfo()
        assert int(status) == 0
        return int(available)

    def once() -> None:
        with open_variant(bundle, built) as runtime:
            runtime.run({"input": images(16)})

    once()
    before = free()
    for _ in range(5):
        once()
    assert before - free() < 16 << 20  # one engine with its context takes more


def test_a_damaged_engine_is_a_sentence(bundle: Bundle, builder: type[TensorRt]) -> None:
    built = build_variant(bundle, bundle.variant("onnx-fp32"), builder)
    path = bundle.path(built.file)
    path.write_bytes(path.read_bytes()[: built.bytes // 2])
    with pytest.raises(BundleError, match=f"^{builder.name} cannot load "):
        builder(path, bundle.manifest.signature, RuntimeOptions())


def test_an_engine_of_another_driver_is_refused(bundle: Bundle, builder: type[TensorRt]) -> None:
    built = build_variant(bundle, bundle.variant("onnx-fp32"), builder)
    assert built.engine is not None
    other = dataclasses.replace(built, engine=dataclasses.replace(built.engine, driver="1.0"))
    with pytest.raises(BundleError, match="was built for another machine") as caught:
        open_variant(bundle, other)
    assert caught.value.expected == "driver 1.0"


def test_the_timing_cache_spares_the_second_build_its_measurements(
    bundle: Bundle, builder: type[TensorRt]
) -> None:
    if not builder.keeps_timings:
        pytest.skip(f"{builder.name} measures nothing when it builds")
    cache = bundle.folder.parent / f"{bundle.folder.name}.{builder.name}.timings"
    build_variant(bundle, bundle.variant("onnx-fp32"), builder)
    first = cache.read_bytes()
    build_variant(bundle, bundle.variant("onnx-fp32"), builder)
    assert len(cache.read_bytes()) == len(first)  # nothing was measured anew


@pytest.mark.parametrize("precision", PRECISIONS)
def test_onnx_runtime_on_cuda(bundle: Bundle, precision: str) -> None:
    need("onnxruntime")
    variant = bundle.variant(f"onnx-{precision}")
    with open_variant(bundle, variant, "onnxruntime", CUDA) as runtime:
        assert runtime.provider == "CUDAExecutionProvider"
        assert parity.excess(deviation(bundle, runtime), variant.tolerance) is None
        first = runtime.run({"input": images(2, seed=1)})["logits"]
        kept = first.copy()
        runtime.run({"input": images(16, seed=2)})
        np.testing.assert_array_equal(first, kept)


def test_torchscript_on_cuda(bundle: Bundle) -> None:
    need("torchscript")
    variant = bundle.variant("torchscript-fp32")
    with open_variant(bundle, variant, "torchscript", CUDA) as runtime:
        assert "cpu" not in runtime.provider.lower()
        assert parity.excess(deviation(bundle, runtime), variant.tolerance) is None


@pytest.mark.parametrize("name", ["onnxruntime", "tensorrt", "tensorrt_rtx"])
def test_a_server_gathers_what_waits(
    bundle: Bundle, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "onnxruntime":
        need(name)
    else:
        kind = builders()[name]
        if (problem := build_unavailable_reason(kind) or kind.unavailable_reason()) is not None:
            pytest.skip(f"{name}: {problem}")
        build_variant(bundle, bundle.variant("onnx-fp32"), kind)
    sizes: list[int] = []
    infer = Classifier.infer

    def counted(classifier: Classifier, batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return infer(classifier, batch)

    monkeypatch.setattr(Classifier, "infer", counted)
    rates = {most: _served(bundle, name, most, sizes) for most in (1, 16)}
    with capsys.disabled():
        print(
            f"\n{name}: " + ", ".join(f"{rate:.0f} images/s at most {most}" for most, rate in rates.items())
        )


def _served(bundle: Bundle, runtime: str, most: int, sizes: list[int]) -> float:
    """Images a second of one process that is asked for 512 of them, which are answered as they are alone."""
    settings = load_settings(
        bundle=bundle.folder, runtime=runtime, device="cuda", max_batch=most, concurrency=16, queue=512
    )
    items = images(512)
    with contextlib.closing(Registry.open(settings, plan(settings))) as registry:
        model = registry.models[0]

        async def alone() -> np.ndarray:
            return np.stack([(await model.infer([item[np.newaxis]]))[1][0].logits for item in items[:32]])

        async def together() -> np.ndarray:
            rows = await asyncio.gather(*(model.infer([item[np.newaxis]]) for item in items))
            return np.stack([row[0].logits for _, row in rows])

        want = asyncio.run(alone())
        sizes.clear()
        started = time.perf_counter()
        got = asyncio.run(together())
        seconds = time.perf_counter() - started
    np.testing.assert_allclose(got[:32], want, rtol=1e-4, atol=1e-5)
    assert sum(sizes) == len(items)
    assert max(sizes) > 1 if most > 1 else set(sizes) == {1}
    return len(items) / seconds


def test_latency(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """Reports and asserts no time: the call includes both copies, as a caller sees it."""
    own = os.environ.get("PINNACE_GPU_BUNDLE")
    if own is not None:
        bundle = Bundle.open(shutil.copytree(own, bundle.folder.parent / "own.bundle"))
    for kind in builders().values():
        if build_unavailable_reason(kind) is None and kind.unavailable_reason() is None:
            for variant in sources(bundle, None):
                build_variant(bundle, variant, kind)
    bundle = Bundle.open(bundle.folder)
    lines = [f"{cuda.gpu()}, {bundle.name}, batch 1, {RUNS} runs after {WARM_UPS}"]
    lines += [
        f"{variant.name:20} {reader.name:14} {_milliseconds(bundle, variant, reader)}"
        for variant in bundle.manifest.variants
        for reader in runtimes_for(variant.format)
        if reader.unavailable_reason() is None and "cuda" in reader.devices
    ]
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert len(lines) > 1


def _milliseconds(bundle: Bundle, variant: Variant, reader: type[Runtime]) -> str:
    inputs = bundle.golden()[0]
    feeds = {name: array[:1] for name, array in inputs.items()}
    try:
        with open_variant(bundle, variant, reader.name, CUDA) as runtime:
            taken = []
            for _ in range(WARM_UPS + RUNS):
                start = time.perf_counter()
                runtime.run(feeds)
                taken.append(1000 * (time.perf_counter() - start))
    except UsageError as error:
        return error.message
    taken = sorted(taken[WARM_UPS:])
    return f"p50 {statistics.median(taken):.3f} ms  p99 {taken[int(0.99 * RUNS)]:.3f} ms"
