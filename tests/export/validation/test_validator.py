"""What the validator measures a variant against."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pinnace.export.request import REFERENCE, ExportedFiles
from pinnace.export.validation import trial
from pinnace.export.validation import validator as validator_module
from pinnace.export.validation.validator import Validator, reference_photographs
from pinnace.models.bundle import golden
from pinnace.models.bundle.measurements import Tolerance
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.errors import BundleError, CheckFailed
from pinnace.models.progress import ignore
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.runtimes.openvino import OpenVino
from pinnace.models.runtimes.openvino_bf16 import OpenVinoBf16
from pinnace.models.variant_name import VariantName
from support import processes
from support.errors import error_of

FILE = "onnx-fp32.onnx"
SPECS = TensorSpec("x", "float32", ("batch", 1, 4, 4)), TensorSpec("y", "float32", ("batch", 1))
MEANS = np.array([1.6e-5, 0, 1.5e-7, 1.3e-2], np.float32)


def validator_of(
    folder: Path, images: npt.NDArray[np.float32], eager: npt.NDArray[np.float32], *nodes: onnx.NodeProto
) -> Validator:
    """A validator of a graph whose nodes make `y` of `p`, the mean of each image."""
    first = [helper.make_node("GlobalAveragePool", ["x"], ["m"]), helper.make_node("Flatten", ["m"], ["p"])]
    graph = helper.make_graph(
        [*first, *nodes],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SPECS[0].shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, SPECS[1].shape)],
        [numpy_helper.from_array(np.array(10.0**power, np.float32), f"1e{power}") for power in (-30, 20, 30)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / FILE)
    (folder / golden.FILE).parent.mkdir(exist_ok=True)
    golden.write(folder / golden.FILE, {"x": images}, {"y": eager})
    exported = ExportedFiles(
        signature=Signature(SPECS[:1], SPECS[1:]),
        preprocess=None,
        labels=None,
        files={REFERENCE: FILE},
        photographs={f"golden/{index}.jpg": index for index in range(3)},
        samples=len(images),
        tools={},
    )
    return Validator(
        folder,
        exported,
        Outputs("probabilities", "y", "none", 2),
        {"fp32": Tolerance(max_rel=1e-3)},
        reference_photographs(folder, exported, None, ignore),
        ignore,
    )


def test_photographs_are_measured_on_the_scale_of_all_golden_answers(tmp_path: Path) -> None:
    """Three photographs with nearly one probability, and the last bits of it are the runtime's own."""
    images = np.broadcast_to(MEANS[:, None, None, None], (4, 1, 4, 4)).copy()
    validator = validator_of(
        tmp_path, images, MEANS[:, None] - np.float32(6e-8), helper.make_node("Identity", ["p"], ["y"])
    )
    variant = validator.validate(REFERENCE, FILE)
    assert variant.proof is not None
    assert variant.proof.images == 3
    assert variant.proof.max_rel == pytest.approx(6e-8 / 1.3e-2, rel=0.02)


@pytest.mark.skipif(all_runtimes()["openvino"].unavailable_reason() is not None, reason="needs OpenVINO")
def test_a_runtime_that_answers_otherwise_is_left_out(tmp_path: Path) -> None:
    """OpenVINO multiplies the factors with one another first, which is too much for float32."""
    images = np.random.default_rng(0).random((4, 1, 4, 4), np.float32) * np.float32(1e-20)
    chain = [
        helper.make_node("Mul", ["p", "1e30"], ["a"]),
        helper.make_node("Mul", ["a", "1e20"], ["b"]),
        helper.make_node("Mul", ["b", "1e-30"], ["y"]),
    ]
    validator = validator_of(tmp_path, images, images.mean(axis=(2, 3)) * np.float32(1e20), *chain)
    variant = validator.validate(REFERENCE, FILE)
    assert variant.unproved_in.keys() == {"openvino"}
    assert variant.parity is not None
    assert variant.parity.runtime == "onnxruntime"
    assert validator.notes == [
        "openvino does not answer to onnx-fp32 like the eager model "
        f"({variant.unproved_in['openvino']}), so it is left out, and onnxruntime answers"
    ]


def test_a_graph_that_answers_otherwise_everywhere_is_refused(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((4, 1, 4, 4), np.float32)
    validator = validator_of(
        tmp_path,
        images,
        images.mean(axis=(2, 3)) * np.float32(1.01),
        helper.make_node("Identity", ["p"], ["y"]),
    )
    with pytest.raises(CheckFailed, match="does not answer like the eager model; no bundle was written"):
        validator.validate(REFERENCE, FILE)


def test_a_file_of_torch_that_onnx_does_not_answer_like_is_taken_as_it_is(tmp_path: Path) -> None:
    """As quantised networks in TorchScript, whose whole numbers are rounded otherwise."""
    images = np.random.default_rng(0).random((4, 1, 4, 4), np.float32)
    off = images.mean(axis=(2, 3)) * np.float32(1.01)
    validator = validator_of(tmp_path, images, off, helper.make_node("Identity", ["p"], ["y"]))
    assert error_of(CheckFailed, validator.validate, REFERENCE, FILE).hint is None
    files = {REFERENCE: FILE, VariantName("torchscript", "fp32"): "net.pt"}
    scripted = replace(validator.exported, exported=True, files=files, exporters={REFERENCE: "dynamo"})
    error = error_of(CheckFailed, replace(validator, exported=scripted).validate, REFERENCE, FILE)
    assert error.message.endswith("does not answer like the file that was given; no bundle was written")
    assert error.hint == "leave onnx out with --format torchscript, which runs the file as it is"


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's process dies when it loads a file."""
    monkeypatch.setattr(OpenVino, "may_crash_on", ("fp32",))
    monkeypatch.setattr(trial, "_load", processes.crash)


@pytest.mark.skipif(OpenVino.unavailable_reason() is not None, reason="needs OpenVINO")
def test_a_runtime_that_crashes_is_left_out(crashing: None, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((4, 1, 4, 4), np.float32)
    validator = validator_of(
        tmp_path, images, images.mean(axis=(2, 3)), helper.make_node("Identity", ["p"], ["y"])
    )
    variant = validator.validate(REFERENCE, FILE)
    died = "it crashed when it loaded the file (SIGSEGV)"
    assert variant.unproved_in == {"openvino": died}
    assert validator.notes == [f"onnx-fp32 is left out of openvino: {died}; onnxruntime answers"]
    for runtime in (OpenVino, OpenVinoBf16):
        with pytest.raises(BundleError, match="as the export found"):
            runtime.check_variant(None, variant)  # type: ignore[arg-type]


@pytest.mark.skipif(OpenVino.unavailable_reason() is not None, reason="needs OpenVINO")
def test_where_the_only_runtime_crashes_that_is_the_error(
    crashing: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validator_module, "runtimes_for", lambda format: [OpenVino])
    images = np.random.default_rng(0).random((4, 1, 4, 4), np.float32)
    validator = validator_of(
        tmp_path, images, images.mean(axis=(2, 3)), helper.make_node("Identity", ["p"], ["y"])
    )
    with pytest.raises(CheckFailed, match="cannot be proved in openvino: it crashed"):
        validator.validate(REFERENCE, FILE)


def test_a_sound_file_and_one_that_is_refused_crash_nothing(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((4, 1, 4, 4), np.float32)
    validator = validator_of(
        tmp_path, images, images.mean(axis=(2, 3)), helper.make_node("Identity", ["p"], ["y"])
    )
    signature = validator.exported.signature
    assert trial.crash("onnxruntime", tmp_path / FILE, signature, RuntimeOptions()) is None
    (tmp_path / FILE).write_bytes(b"no model")
    assert trial.crash("onnxruntime", tmp_path / FILE, signature, RuntimeOptions()) is None
