"""The TensorRT runtime and its memory, on an imitated GPU; `tests/gpu` has the same on a real one."""

from __future__ import annotations

import dataclasses
import importlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import BundleError, UsageError
from pinnace.models.install import install_line
from pinnace.models.runtimes import all_runtimes, tensorrt
from pinnace.models.runtimes import cuda as cuda_api
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.runtimes.cuda import CudaError
from pinnace.models.runtimes.tensorrt import TensorRt
from pinnace.models.runtimes.tensorrt_rtx import TensorRtRtx
from support import imitation_gpu
from support.errors import refusal

trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT RTX has no wheel for this machine")

CALLS = {
    "cudaFree",
    "cudaFreeHost",
    "cudaGetDeviceCount",
    "cudaGetDeviceProperties",
    "cudaGetErrorString",
    "cudaDriverGetVersion",
    "cudaMalloc",
    "cudaMallocHost",
    "cudaMemcpyAsync",
    "cudaMemcpyKind",
    "cudaStreamCreateWithFlags",
    "cudaStreamDestroy",
    "cudaStreamSynchronize",
}


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3, 16, 16)).astype(np.float32)


@pytest.fixture
def cuda(exported: Bundle, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An imitated GPU on which every engine is the tiny network, for batches of 2 to 16."""
    cuda = imitation_gpu.Cuda()
    monkeypatch.setattr(cuda_api, "bindings", lambda: cuda)
    monkeypatch.setattr(cuda_api, "_DRIVER_FILE", Path("/nonexistent"))
    file = str(exported.path("onnx-fp32.onnx"))
    monkeypatch.setattr(trt, "Runtime", imitation_gpu.runtime_class(trt, cuda, file, (2, 16)))
    return cuda


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "tensorrt_rtx-fp32.engine"
    path.write_bytes(bytes(200))
    return path


@pytest.fixture
def opened(cuda: Any, engine: Path, exported: Bundle):
    with TensorRtRtx(engine, exported.manifest.signature, RuntimeOptions()) as runtime:
        yield runtime


def test_every_call_of_cuda_exists() -> None:
    bindings = importlib.import_module("cuda.bindings.runtime")
    used = set(re.findall(r"\bcuda[A-Z]\w+", Path(cuda_api.__file__).read_text()))
    assert used - {"cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"} == CALLS
    assert {name for name in CALLS if not hasattr(bindings, name)} == set()
    assert hasattr(bindings.cudaMemcpyKind, "cudaMemcpyHostToDevice")
    assert hasattr(bindings.cudaMemcpyKind, "cudaMemcpyDeviceToHost")
    assert bindings.cudaStreamNonBlocking == cuda_api._STREAM_NON_BLOCKING


def test_every_call_of_tensorrt_exists() -> None:
    for owner, names in {
        trt.Runtime: ["deserialize_cuda_engine"],
        trt.ICudaEngine: [
            *("create_execution_context", "num_io_tensors", "get_tensor_name", "get_tensor_dtype"),
            "get_tensor_profile_shape",
        ],
        trt.IExecutionContext: [
            "set_input_shape",
            "set_tensor_address",
            "execute_async_v3",
            "get_tensor_shape",
        ],
    }.items():
        assert [name for name in names if not hasattr(owner, name)] == []


@pytest.mark.parametrize("batch", [2, 3, 16])
def test_the_outputs_equal_those_of_the_eager_network(
    opened: TensorRt, tiny: torch.nn.Module, batch: int
) -> None:
    inputs = images(batch)
    logits = opened.run({"input": inputs})["logits"]
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, tiny(torch.from_numpy(inputs)).numpy(), rtol=1e-4, atol=1e-5)


def test_outputs_belong_to_the_caller_and_outlive_the_runtime(opened: TensorRt) -> None:
    first = opened.run({"input": images(2, seed=1)})["logits"]
    kept = first.copy()
    opened.run({"input": images(16, seed=2)})
    np.testing.assert_array_equal(first, kept)
    first[...] = 7
    np.testing.assert_array_equal(opened.run({"input": images(2, seed=1)})["logits"], kept)
    opened.close()
    assert (first == 7).all()


def test_several_threads_take_turns(opened: TensorRt) -> None:
    batches = [images(2 + seed % 3, seed) for seed in range(40)]
    want = [opened.run({"input": batch})["logits"] for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda batch: opened.run({"input": batch})["logits"], batches))
    for one, other in zip(want, got, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("batch", [1, 17])
def test_a_batch_out_of_range(opened: TensorRt, batch: int) -> None:
    assert refusal(UsageError, lambda: opened.run({"input": images(batch)})) == (
        "the engine was not built for this shape of input\n"
        f"  expected: 2x3x16x16 to 16x3x16x16\n  got: {batch}x3x16x16\n"
        "  help: send smaller batches, or build an engine from a bundle with a larger batch range"
    )


def test_closing_gives_everything_back_and_may_be_repeated(cuda: Any, engine: Path, exported: Bundle) -> None:
    opened = TensorRtRtx(engine, exported.manifest.signature, RuntimeOptions())
    assert (len(cuda.live), len(cuda.streams)) == (4, 1)  # host and device, input and output
    opened.close()
    assert (cuda.live, cuda.streams) == ({}, {})
    opened.close()


def test_a_failed_execution_is_a_sentence(cuda: Any, opened: TensorRt) -> None:
    cuda.failure = 1
    assert refusal(BundleError, lambda: opened.run({"input": images(2)})) == (
        f"tensorrt_rtx cannot run {opened.path}: cudaStreamSynchronize failed: invalid argument"
    )
    cuda.failure = 0
    opened._context.execute_async_v3 = lambda handle: False
    assert refusal(BundleError, lambda: opened.run({"input": images(2)})) == (
        f"tensorrt_rtx cannot run {opened.path}: the execution could not be started"
    )


def test_too_little_memory_leaves_nothing_behind(cuda: Any, engine: Path, exported: Bundle) -> None:
    cuda.memory = 16 * 3 * 16 * 16 * 4 + 100
    assert refusal(
        BundleError, lambda: TensorRtRtx(engine, exported.manifest.signature, RuntimeOptions())
    ) == (f"tensorrt_rtx cannot load {engine}: cudaMalloc failed: out of memory")
    assert (cuda.live, cuda.streams) == ({}, {})


def test_a_damaged_engine_is_a_sentence(cuda: Any, engine: Path, exported: Bundle) -> None:
    engine.write_bytes(bytes(50))
    assert refusal(
        BundleError, lambda: TensorRtRtx(engine, exported.manifest.signature, RuntimeOptions())
    ) == (f"tensorrt_rtx cannot load {engine}: the plan is too short")


def test_an_engine_of_another_model(cuda: Any, engine: Path, exported: Bundle) -> None:
    signature = exported.manifest.signature
    wrong = dataclasses.replace(signature.outputs[0], name="scores", dtype="float16")
    other = dataclasses.replace(signature, outputs=(wrong,))
    assert refusal(BundleError, lambda: TensorRtRtx(engine, other, RuntimeOptions())) == (
        f"tensorrt_rtx cannot load {engine}: it has the tensors input=float32, logits=float32 "
        "where the manifest has input=float32, scores=float16"
    )


def test_it_does_not_run_on_the_cpu(cuda: Any, engine: Path, exported: Bundle) -> None:
    options = RuntimeOptions(device="cpu")
    assert refusal(UsageError, lambda: TensorRtRtx(engine, exported.manifest.signature, options)) == (
        "runtime tensorrt_rtx does not run on cpu\n  expected: cuda\n  got: cpu"
    )


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
            "GCC version:  gcc version 12.3.0\n",
            "580.65.06",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build\n", "540.4.0"),
        ("no version at all", "CUDA 12.6"),
        (None, "CUDA 12.6"),
    ],
)
def test_the_gpu_and_its_driver(
    cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, driver: str
) -> None:
    if text is not None:
        (tmp_path / "version").write_text(text)
    monkeypatch.setattr(cuda_api, "_DRIVER_FILE", tmp_path / "version")
    assert cuda_api.gpu() == cuda_api.Gpu("Imitation GPU", "8.7", driver)


def test_why_it_does_not_work_here(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(cuda_api, "ctypes", SimpleNamespace(CDLL=no_library))
    assert TensorRtRtx.unavailable_reason() == "there is no NVIDIA driver here (libcuda.so.1 is not found)"
    assert TensorRtRtx.install_hint() is None
    monkeypatch.setattr(cuda_api, "ctypes", SimpleNamespace(CDLL=lambda name: None))
    assert TensorRtRtx.unavailable_reason() is None
    cuda.cudaGetDeviceCount = lambda: (100, None)
    assert (
        TensorRtRtx.unavailable_reason() == "CUDA finds no GPU here: cudaGetDeviceCount failed: unknown error"
    )
    cuda.cudaGetDeviceCount = lambda: (0, 0)
    assert TensorRtRtx.unavailable_reason() == "CUDA finds no GPU here"
    monkeypatch.setattr(cuda_api, "bindings", lambda: None)
    assert TensorRtRtx.unavailable_reason() == "the package cuda-bindings is not installed"
    assert TensorRtRtx.install_hint() == install_line("rtx")
    monkeypatch.setattr(TensorRtRtx, "module", "package_that_nobody_has")
    assert TensorRtRtx.unavailable_reason() == "the package package_that_nobody_has is not installed"


def test_a_package_whose_libraries_are_missing(
    cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed_trt.py").write_text("raise OSError('libnvinfer.so.10:\\n not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cuda_api, "unavailable_reason", lambda: None)
    monkeypatch.setattr(TensorRt, "module", "half_installed_trt")
    assert (
        TensorRt.unavailable_reason() == "half_installed_trt cannot be imported: libnvinfer.so.10: not found"
    )


def test_cuda_python_of_jetpack_6_is_found_where_the_new_bindings_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find(name: str) -> str:
        if name == "cuda.bindings.runtime":
            raise ImportError(name)
        return name

    monkeypatch.setattr(cuda_api, "importlib", SimpleNamespace(import_module=find))
    assert cuda_api.bindings() == "cuda.cudart"


def test_a_call_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_api, "bindings", lambda: None)
    with pytest.raises(CudaError, match=r"^the package cuda-bindings is not installed$"):
        cuda_api.call("cudaFree", 0)


def test_the_real_bindings_say_why_a_call_fails() -> None:
    if cuda_api.unavailable_reason() is None:
        pytest.skip("there is a GPU here")
    with pytest.raises(CudaError, match=r"^cudaMalloc failed: \w+( \w+)+$"):
        cuda_api.call("cudaMalloc", 16)


def test_tensorrt_and_its_sister_are_found_and_have_formats_of_their_own() -> None:
    assert all_runtimes()["tensorrt"] is TensorRt
    assert (TensorRt.formats, TensorRtRtx.formats) == (("tensorrt",), ("tensorrt_rtx",))


def test_the_logger_keeps_warnings_and_errors_and_names_the_first_error() -> None:
    log = tensorrt.logger("tensorrt_rtx")
    severity = trt.ILogger.Severity
    log.lines.clear()
    for level, text in (
        (severity.INFO, "a"),
        (severity.WARNING, "b"),
        (severity.ERROR, "c\n d"),
        (severity.ERROR, "e"),
    ):
        log.log(level, text)
    assert log.lines == ["warning: b", "error: c\n d", "error: e"]
    assert log.reason("nothing") == "c d"
    log.lines.clear()
    assert log.reason("nothing") == "nothing"
