"""OpenVINO: what the contract for every runtime does not say."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.measurements import Tolerance
from pinnace.models.errors import BundleError, UsageError
from pinnace.models.install import install_line
from pinnace.models.runtimes import all_runtimes, openvino, readers_for, runtimes_for
from pinnace.models.runtimes.base import Runtime, RuntimeOptions
from pinnace.models.runtimes.openvino import OpenVino, import_openvino
from pinnace.models.runtimes.openvino_bf16 import OpenVinoBf16
from pinnace.models.selection import open_variant, working_readers
from support.errors import refusal

pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")

NO_BF16 = OpenVinoBf16.unavailable_reason()
with_bf16 = pytest.mark.skipif(NO_BF16 is not None, reason=str(NO_BF16))

QUIET = """
import socket, sys
def refuse(*arguments, **more):
    raise AssertionError(f"somebody talks to {arguments}")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.selection import open_bundle
import numpy as np
bundle = Bundle.open(sys.argv[1])
variant, runtime = open_bundle(bundle, runtime="openvino")
with runtime:
    runtime.run({"input": np.zeros((1, 3, 16, 16), np.float32)})
import openvino
assert openvino.convert_model is not None
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
assert "torch" not in sys.modules
"""


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3, 16, 16)).astype(np.float32)


def opened(bundle: Bundle, runtime: str, **options: int) -> Runtime:
    return open_variant(bundle, bundle.variant("onnx-fp32"), runtime, RuntimeOptions(**options))


def compiled(runtime: Runtime, which: str = "_requests"):
    """The compiled models of its requests, the one that is taken first before the others."""
    requests = list(getattr(runtime, which).free.queue)
    return [request.get_compiled_model() for request in reversed(requests)]


def keep_busy(runtime: Runtime) -> None:
    """See to it that all of its requests are made, as they are once a second call comes."""
    assert isinstance(runtime, OpenVino)
    requests = runtime._requests
    assert requests is not None
    with requests.taken(), requests.taken():
        pass
    assert requests.growth is not None
    requests.growth.join()


def test_no_statistics_are_sent_and_nothing_is_written_at_home(exported: Bundle, tmp_path: Path) -> None:
    # In CI its telemetry would stay silent of its own accord, so this must not look like CI.
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", QUIET, str(exported.folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("avx512", [False, True])
def test_onnx_runtime_is_preferred_where_there_is_no_avx512(
    exported: Bundle, monkeypatch: pytest.MonkeyPatch, avx512: bool
) -> None:
    monkeypatch.setattr(openvino, "has_avx512", lambda: avx512)
    names = [runtime.name for runtime in working_readers(exported, exported.variant("onnx-fp32"))]
    assert names == (["openvino", "onnxruntime"] if avx512 else ["onnxruntime", "openvino"])


def test_a_file_that_it_does_not_load_is_left_to_onnx_runtime(
    exported: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BundleError("no such operator")

    monkeypatch.setattr(openvino, "has_avx512", lambda: True)
    monkeypatch.setattr(OpenVino, "_compiled", refuse)
    with open_variant(exported, exported.variant("onnx-fp32")) as runtime:
        assert runtime.name == "onnxruntime"


def test_a_gpu_that_was_asked_for_leaves_it_out(exported: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "has_avx512", lambda: True)
    readers = working_readers(exported, exported.variant("onnx-fp32"), device="cuda")
    assert [reader.name for reader in readers] == ["onnxruntime"]


@pytest.mark.parametrize(
    ("threads", "concurrency", "streams"), [(1, 1, [1]), (2, 1, [1]), (1, 2, [1, 1]), (1, 3, [1, 2, 2])]
)
def test_threads_streams_and_precision_are_what_was_asked_for(
    exported: Bundle, threads: int, concurrency: int, streams: list[int]
) -> None:
    with opened(exported, "openvino", threads=threads, concurrency=concurrency) as runtime:
        assert [model.get_property("NUM_STREAMS") for model in compiled(runtime)] == [1]
        if concurrency > 1:
            keep_busy(runtime)
        models = compiled(runtime)
        found = [model.get_property("NUM_STREAMS") for model in models]
        assert sorted(found) == sorted(streams)
        for model, calls in zip(models, found, strict=True):
            assert model.get_property("INFERENCE_NUM_THREADS") == threads * calls
            assert model.get_property("ENABLE_CPU_PINNING") is False
        assert runtime.provider == "CPU f32"


@pytest.mark.parametrize("batch", [1, 4])
def test_it_is_prepared_for_one_shape_and_takes_every_other(exported: Bundle, batch: int) -> None:
    with opened(exported, "openvino", threads=1, batch=batch) as runtime:
        assert compiled(runtime)[0].input().shape == [batch, 3, 16, 16]
        usual = runtime.run({"input": images(batch)})["logits"]
        assert runtime._of_other_shapes is None
        other = runtime.run({"input": np.concatenate([images(batch), images(3, seed=1)])})["logits"]
        assert other.shape[0] == batch + 3
        np.testing.assert_allclose(other[:batch], usual, rtol=1e-4, atol=1e-5)
        assert compiled(runtime, "_of_other_shapes")[0].input().partial_shape.is_dynamic
        np.testing.assert_array_equal(runtime.run({"input": images(batch)})["logits"], usual)


def test_calls_from_several_threads_answer_as_one_after_the_other(exported: Bundle) -> None:
    batches = [images(1 + seed % 3, seed) for seed in range(60)]
    with opened(exported, "openvino", threads=1, concurrency=2) as runtime:
        want = [runtime.run({"input": batch})["logits"] for batch in batches]
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(lambda batch: runtime.run({"input": batch})["logits"], batches))
    for one, other in zip(want, got, strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_calls_are_in_work_at_once_and_no_third(exported: Bundle) -> None:
    with opened(exported, "openvino", threads=1, concurrency=2) as runtime:
        assert isinstance(runtime, OpenVino)
        keep_busy(runtime)
        assert runtime._requests is not None
        free = runtime._requests.free
        assert free.qsize() == 2
        first, second = free.get(), free.get()
        waiting = threading.Thread(target=lambda: runtime.run({"input": images(1)}))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        free.put(first)
        waiting.join(30)
        assert not waiting.is_alive()
        free.put(second)


def test_where_no_second_fits_calls_go_on_one_by_one(
    exported: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(exported, "openvino", threads=1, concurrency=2) as runtime:
        assert isinstance(runtime, OpenVino)

        def refuse(*_: object) -> None:
            raise BundleError("no memory")

        monkeypatch.setattr(runtime, "_compiled", refuse)
        assert runtime._requests is not None
        request = runtime._requests.free.get()
        waiting = threading.Thread(target=lambda: runtime.run({"input": images(1)}))
        waiting.start()
        while runtime._requests.growth is None:
            waiting.join(0.01)
        runtime._requests.growth.join()
        runtime._requests.free.put(request)
        waiting.join(30)
        assert not waiting.is_alive()
    assert "no more fit: no memory" in caplog.text


def test_a_request_whose_run_failed_is_used_again(exported: Bundle) -> None:
    with opened(exported, "openvino", threads=1) as runtime:
        assert isinstance(runtime, OpenVino)
        want = runtime.run({"input": images(1)})["logits"]
        signature, runtime.signature = runtime.signature, None
        with pytest.raises(AttributeError):
            runtime._run({"input": images(1)})
        runtime.signature = signature
        assert runtime._requests is not None
        assert runtime._requests.free.qsize() == 1
        np.testing.assert_array_equal(runtime.run({"input": images(1)})["logits"], want)


def test_it_does_not_run_on_cuda(exported: Bundle) -> None:
    options = RuntimeOptions(device="cuda")
    variant = exported.variant("onnx-fp32")
    assert refusal(UsageError, lambda: open_variant(exported, variant, "openvino", options)) == (
        "runtime openvino does not run on cuda\n  expected: cpu or gpu or npu or auto\n  got: cuda"
    )


@with_bf16
def test_bf16_says_so(exported: Bundle) -> None:
    with opened(exported, "openvino-bf16") as runtime:
        assert runtime.provider == "CPU bf16"


def test_the_tolerance_of_bf16_is_for_files_that_are_more_exact(precisions: Bundle) -> None:
    wide = Tolerance(max_rel=0.1, min_cosine=0.99, min_top1_agreement=0.9)
    assert OpenVinoBf16.tolerance(precisions.variant("onnx-fp32")) == wide
    int8 = precisions.variant("onnx-int8")
    assert OpenVinoBf16.tolerance(int8) == int8.tolerance
    assert OpenVino.tolerance(int8) == int8.tolerance


def test_bf16_is_never_chosen(exported: Bundle) -> None:
    assert all_runtimes()["openvino-bf16"] in runtimes_for("onnx")
    assert all_runtimes()["openvino-bf16"] not in readers_for("onnx")


def test_a_cpu_without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    class OlderCore:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(import_openvino(), "Core", OlderCore)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert (
        OpenVinoBf16.unavailable_reason() == "this CPU (x86_64) has no bfloat16 arithmetic (AVX512_BF16, AMX)"
    )
    assert OpenVinoBf16.install_hint() is None


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVinoBf16, "module", "package_that_nobody_has")
    assert OpenVinoBf16.unavailable_reason() == "the package package_that_nobody_has is not installed"
    assert OpenVinoBf16.install_hint() == install_line("openvino")


def test_a_file_that_is_no_onnx_is_one_line(exported: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "noise.onnx"
    path.write_bytes(np.random.default_rng(0).bytes(3000))
    message = refusal(BundleError, lambda: OpenVino(path, exported.manifest.signature, RuntimeOptions()))
    assert message.startswith(f"OpenVINO cannot load {path}: ")
    assert len(message.splitlines()) == 1
