"""OpenVINO's devices and those of ONNX Runtime's providers. Only CPUs are here: one stands in for a GPU."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import UsageError
from pinnace.models.runtimes import all_runtimes, onnxruntime
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.selection import open_variant
from support.errors import refusal

PIXELS = np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)


def answer(bundle: Bundle, runtime: str, device: str | None) -> tuple[np.ndarray, str, str]:
    """The logits, where they came from, and in which words the runtime says so."""
    shape = bundle.manifest.signature.inputs[0].with_batch(3)
    feeds = {bundle.manifest.signature.inputs[0].name: np.resize(PIXELS, shape)}
    options = RuntimeOptions(threads=1, device=device)
    with open_variant(bundle, bundle.variant("onnx-fp32"), runtime, options) as opened:
        logits = opened.run(feeds)[bundle.manifest.signature.output_names[0]]
        return np.asarray(logits), opened.device, opened.provider


def test_auto_answers_from_the_cpu_where_there_is_nothing_else(exported: Bundle) -> None:
    openvino = pytest.importorskip("openvino")
    if openvino.Core().available_devices != ["CPU"]:
        pytest.skip("OpenVINO has another device here")
    logits, device, provider = answer(exported, "openvino", "auto")
    wanted, _, _ = answer(exported, "openvino", None)
    np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-6)
    assert device == "cpu"
    assert provider == "AUTO: CPU"


@pytest.mark.parametrize(
    ("runtime", "device", "sentence"),
    [
        ("openvino", "gpu", "OpenVINO finds no GPU here"),
        ("openvino", "npu", "OpenVINO finds no NPU here"),
        ("onnxruntime", "npu", "no provider of this onnxruntime has a device of kind NPU"),
    ],
)
def test_a_device_that_is_not_there(exported: Bundle, runtime: str, device: str, sentence: str) -> None:
    reader = all_runtimes()[runtime]
    if reader.unavailable_reason() is not None or reader.device_problem(device) is None:
        pytest.skip(f"this machine has no {runtime}, or has the device")
    assert reader.device_problem(device) == sentence
    assert refusal(UsageError, lambda: answer(exported, runtime, device)) == (
        f"{sentence}\n  got: {device}\n  help: `pinnace doctor` lists the devices that it finds"
    )


def test_a_device_of_a_provider(exported: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no GPU here, so the CPU, which is a device of a provider too, stands in for one."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(onnxruntime._KINDS, "gpu", "CPU")
    logits, device, provider = answer(exported, "onnxruntime", "gpu")
    wanted, _, _ = answer(exported, "onnxruntime", None)
    np.testing.assert_array_equal(logits, wanted)
    assert (device, provider) == ("gpu", "CPUExecutionProvider")


def test_doctor_lists_what_is_found(pinnace) -> None:
    found = {each["name"]: each["version"] for each in json.loads(pinnace("doctor", "--json").out)}
    if "devices of openvino" in found:
        assert found["devices of openvino"].startswith("CPU (")
    assert "CPUExecutionProvider" in found["devices of onnxruntime"]
    assert "devices of openvino-bf16" not in found
