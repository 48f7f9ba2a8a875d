"""ONNX files as other tools write them: which opset and precision they have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from pinnace.export import targets
from pinnace.export.convert import without_images
from pinnace.export.exporter import Evidence, export_bundle
from pinnace.export.request import ExportRequest, OpsetOrigin
from pinnace.export.validation.verify import passed, verify_bundle
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.cpus import saturates
from pinnace.models.errors import BundleError, CheckFailed, UsageError
from pinnace.models.image.decode import open_image
from pinnace.models.runtimes import all_runtimes
from pinnace.models.selection import open_bundle, working_readers
from pinnace.models.variant_name import VariantName
from support.command_line import CommandLine
from support.errors import error_of, refusal
from support.onnx_files import EDGE, PHOTOGRAPHS, SQUEEZED, write
from support.small_networks import build

pytestmark = pytest.mark.slow

Export = Callable[..., Bundle]
f = np.float32

# --- opsets -----------------------------------------------------------------------------------------------


def opset(bundle: Bundle, variant: str = "onnx-fp32") -> tuple[int, int]:
    model = onnx.load(bundle.path(bundle.variant(variant).file))
    return model.opset_import[0].version, model.ir_version


def test_an_old_file_is_lifted(tmp_path: Path, export: Export) -> None:
    torch.manual_seed(0)
    layers = (torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 3, 2), torch.nn.ReLU())
    write(
        torch.nn.Sequential(*layers, *build(4)[2:4], torch.nn.Linear(16, 4)).eval(),
        tmp_path / "old.onnx",
        11,
        keep_initializers_as_inputs=True,
    )
    model = onnx.load(tmp_path / "old.onnx")
    model.ir_version = 3
    onnx.save(model, tmp_path / "old.onnx")
    (tmp_path / "images").mkdir()
    for path in PHOTOGRAPHS:
        (tmp_path / "images" / path.name).symlink_to(path)
    names = ("onnx-fp32", "onnx-fp16", "onnx-int8")
    bundle = export(tmp_path / "old.onnx", *names, evidence=Evidence(tmp_path / "images"))
    assert {opset(bundle, name) for name in names} == {(13, 7)}
    assert "the file was converted from opset 11 to 13" in bundle.manifest.notes
    assert [value.name for value in onnx.load(bundle.path("onnx-fp32.onnx")).graph.input] == ["x"]
    assert passed(verify_bundle(bundle))


@pytest.mark.parametrize(
    ("origin", "asked", "has"),
    [
        (None, 18, 13),
        (OpsetOrigin.TARGET, 18, 13),
        (OpsetOrigin.TARGET, 17, 13),
        (OpsetOrigin.OPTION, 17, 17),
        (OpsetOrigin.OPTION, 20, 20),
    ],
)
def test_the_opset_of_a_file(
    plain: Path, export: Export, origin: OpsetOrigin | None, asked: int, has: int
) -> None:
    bundle = export(plain, opset=asked, opset_origin=origin)
    assert opset(bundle)[0] == has
    same = bundle.path("onnx-fp32.onnx").read_bytes() == plain.read_bytes()
    assert same is (has == 13)


def test_a_target_lowers_a_file_or_says_why_not(
    network: torch.nn.Module, tmp_path: Path, export: Export
) -> None:
    write(network, tmp_path / "new.onnx", 20)
    ask = {"opset": 17, "opset_origin": OpsetOrigin.TARGET}
    assert opset(export(tmp_path / "new.onnx", **ask)) == (17, 8)
    padded = torch.nn.Sequential(torch.nn.ZeroPad2d((1, 0, 1, 0)), *network)
    program = torch.onnx.export(
        padded, (torch.rand(2, 3, EDGE, EDGE),), dynamo=True, opset_version=18, verbose=False
    )
    assert program is not None
    program.save(tmp_path / "padded.onnx", external_data=False)
    error = error_of(CheckFailed, export, tmp_path / "padded.onnx", **ask)
    assert error.exit_status == 1
    assert error.message.startswith(f"file:{tmp_path}/padded.onnx cannot be converted to opset 17: ")
    assert (error.expected, error.got) == ("opset 17, as the target says", "opset 18")


class Padded(torch.nn.Module):
    """torch's newer exporter writes a Pad that cannot be converted to opset 17."""

    def __init__(self) -> None:
        super().__init__()
        self.net = build(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(torch.nn.functional.pad(x, (1, 0, 1, 0)))


@pytest.mark.parametrize("asked", [17, 18, 20])
def test_torch_networks_are_written_in_the_opset_that_is_asked_for(tmp_path: Path, asked: int) -> None:
    (tmp_path / "padded_net.py").write_text(
        "import torch\nfrom support.small_networks import build\n\n\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.net = build(4)\n\n"
        "    def forward(self, x):\n        return self.net(torch.nn.functional.pad(x, (1, 0, 1, 0)))\n"
    )
    (tmp_path / "support").mkdir()
    (tmp_path / "support" / "small_networks.py").write_text(Path(build.__code__.co_filename).read_text())
    torch.save(Padded().state_dict(), tmp_path / "w.pt")
    request = ExportRequest(
        "file:w.pt", (VariantName("onnx", "fp32"),), asked, arch="padded_net:Net", input_size=(EDGE, EDGE),
        folder=str(tmp_path),
    )  # fmt: skip
    bundle = export_bundle(request, targets.read("cpu"), tmp_path / "out.bundle")
    assert opset(bundle) == (asked, 8 if asked == 17 else 10)
    older = [note for note in bundle.manifest.notes if "TorchScript-based exporter" in note]
    assert len(older) == (asked == 17)


# --- files that are quantised, or of half precision -------------------------------------------------------


class Noise(CalibrationDataReader):
    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.left = [{"x": generator.normal(size=(1, 3, EDGE, EDGE)).astype(f)} for _ in range(8)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


def quantised(plain: Path, path: Path, kind: str) -> None:
    if kind == "dynamic":
        quantize_dynamic(str(plain), str(path), weight_type=QuantType.QUInt8)
    else:
        format = QuantFormat.QDQ if kind == "qdq" else QuantFormat.QOperator
        quantize_static(
            str(plain), str(path), Noise(), quant_format=format, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["qdq", "qoperator", "dynamic"])
def test_a_quantised_file_is_taken_as_it_is(plain: Path, tmp_path: Path, export: Export, kind: str) -> None:
    path = tmp_path / f"{kind}.onnx"
    quantised(plain, path, kind)
    bundle = export(path, changes=SQUEEZED)
    (variant,) = bundle.manifest.variants
    assert (variant.name, variant.precision, variant.activations) == ("onnx-int8", "int8", "uint8")
    assert bundle.path(variant.file).read_bytes() == path.read_bytes()
    assert (
        "the file computes in int8 already, so it is the variant onnx-int8 as it is" in bundle.manifest.notes
    )
    assert passed(verify_bundle(bundle))
    settings = onnxruntime.SessionOptions()
    if saturates():  # else its products would be cut off, and the file be right that answers otherwise
        settings.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(path), settings)
    with Classifier(bundle) as classifier:
        for photograph in PHOTOGRAPHS:
            given = classifier.prepare(open_image(photograph))
            np.testing.assert_allclose(
                classifier.infer(given), session.run(None, {"x": given})[0], rtol=1e-4, atol=1e-4
            )


def test_a_runtime_that_does_not_load_a_file_is_a_note(
    plain: Path, tmp_path: Path, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantised(plain, tmp_path / "q.onnx", "qoperator")
    if all_runtimes()["openvino"].unavailable_reason() is not None:
        pytest.skip("openvino is not installed")
    bundle = export(tmp_path / "q.onnx")
    told = [
        note for note in bundle.manifest.notes if "was not proved in openvino, which does not run it" in note
    ]
    verdicts = {verdict.runtime: verdict for verdict in verify_bundle(bundle)}
    assert verdicts["onnxruntime"].passed is True
    assert (verdicts["openvino"].passed is None) is bool(told)


def test_no_other_precision_is_made_of_a_quantised_file(plain: Path, tmp_path: Path, export: Export) -> None:
    quantised(plain, tmp_path / "q.onnx", "qdq")
    assert refusal(UsageError, export, tmp_path / "q.onnx", "onnx-fp32", "onnx-fp16", named=True) == (
        "onnx-fp16 cannot be made: the file is int8 already, and they are made of fp32\n"
        "  help: leave out --precision"
    )
    bundle = export(tmp_path / "q.onnx", "onnx-fp32", "onnx-fp16")
    assert [variant.name for variant in bundle.manifest.variants] == ["onnx-int8"]
    assert (
        "onnx-fp16 is left out: the file is int8 already, and they are made of fp32" in bundle.manifest.notes
    )


def test_images_are_asked_for_only_where_they_help(plain: Path, tmp_path: Path, export: Export) -> None:
    names = [VariantName("onnx", "int8"), VariantName("onnx", "int8sym")]
    assert without_images(export(plain, changes=SQUEEZED), names) == [
        f"{name} was left out, because it needs images: --calibrate DIR" for name in names
    ]
    quantised(plain, tmp_path / "q.onnx", "qdq")
    bundle = export(tmp_path / "q.onnx", changes=SQUEEZED)
    assert without_images(bundle, names[:1]) == []
    assert without_images(bundle, names) == [
        "onnx-int8sym is left out: the file is int8 already, and they are made of fp32"
    ]
    weights = [numpy_helper.from_array(np.eye(5, 3, dtype=f), "w")]
    row, scores = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", edge])
        for name, edge in (("row", 5), ("y", 3))
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["row", "w"], ["y"])], "g", [row], [scores], weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, tmp_path / "rows.onnx")
    assert without_images(export(tmp_path / "rows.onnx"), names[:1]) == [
        "onnx-int8 is left out: its ranges are found by running the model on images, and this takes none"
    ]


def test_a_file_of_half_precision(plain: Path, tmp_path: Path, export: Export) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.load(plain), keep_io_types=False)
    onnx.save(model, tmp_path / "half.onnx")
    bundle = export(tmp_path / "half.onnx", changes=SQUEEZED)
    (variant,) = bundle.manifest.variants
    assert (variant.name, bundle.preprocess.dtype) == ("onnx-fp16", "float16")
    assert passed(verify_bundle(bundle))


def test_a_runtime_that_answers_otherwise_is_left_out(plain: Path, tmp_path: Path, export: Export) -> None:
    """Values that are 0 in float16 on the way: ONNX Runtime rounds after each node, OpenVINO at the end."""
    if all_runtimes()["openvino"].unavailable_reason() is not None:
        pytest.skip("openvino is not installed")
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.load(plain), keep_io_types=False)
    model.graph.node[-1].output[0] = "small0"
    for step, factor in enumerate((1e-4, 1e-3, 1e3, 1e4)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(factor, np.float16), f"factor{step}"))
        output = "y" if step == 3 else f"small{step + 1}"
        model.graph.node.append(helper.make_node("Mul", [f"small{step}", f"factor{step}"], [output]))
    onnx.save(model, tmp_path / "half.onnx")
    bundle = export(tmp_path / "half.onnx", changes=SQUEEZED)
    (variant,) = bundle.manifest.variants
    assert variant.unproved_in.keys() == {"openvino"}
    reason = variant.unproved_in["openvino"]
    assert reason.startswith("expected at most 0.02 of the outputs' range, got ")
    assert (
        f"openvino does not answer to onnx-fp16 like the file that was given ({reason}), so it is left out, "
        "and onnxruntime answers"
    ) in bundle.manifest.notes
    assert {file.name for file in bundle.folder.iterdir()}.isdisjoint({"failing.npz"})
    assert [reader.name for reader in working_readers(bundle, variant)] == ["onnxruntime"]
    with Classifier(bundle) as classifier:
        assert classifier.runtime.name == "onnxruntime"
    verdicts = {verdict.runtime: verdict.passed for verdict in verify_bundle(bundle)}
    assert verdicts == {"onnxruntime": True, "openvino": None}
    assert refusal(BundleError, open_bundle, bundle, None, "openvino") == (
        f"onnx-fp16 does not answer in openvino as it should, as the export found ({reason})\n"
        "  help: another runtime answers where --runtime openvino is left out"
    )


def test_a_head_of_zeros_proves_nothing_and_that_is_said(
    plain: Path, tmp_path: Path, export: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(plain)
    for tensor in model.graph.initializer:
        if tensor.dims[0] == 4:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(tensor.dims, f), tensor.name))
    onnx.save(model, tmp_path / "zeros.onnx")
    told = "every golden answer is 0, so the comparison with them says nothing"
    bundle = export(tmp_path / "zeros.onnx")
    assert [note for note in bundle.manifest.notes if note.startswith(told)]
    status, _, err = CommandLine(capsys)("verify", bundle.folder)
    assert status == 0
    assert told in err
    assert not any("says nothing" in note for note in export(plain).manifest.notes)


# --- left in training mode --------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layer", [torch.nn.BatchNorm2d(8), torch.nn.Dropout(0.5)], ids=["norm", "dropout"])
def test_a_file_in_training_mode_is_told_to_be_one(
    tmp_path: Path, export: Export, layer: torch.nn.Module, batch: int
) -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2), layer, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    torch.onnx.export(
        net.train(), (torch.rand(batch, 3, EDGE, EDGE),), str(tmp_path / "t.onnx"), dynamo=False,
        training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False, opset_version=17,
    )  # fmt: skip
    message = refusal(CheckFailed, export, tmp_path / "t.onnx")
    assert message.startswith("the file was exported in training mode: its node ")
    assert "eager" not in message
    assert "  help: call model.eval() before the model is exported, and export it again" in message


def test_a_traced_model_whose_answers_depend_on_the_batch(tmp_path: Path, export: Export) -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2),
        torch.nn.BatchNorm2d(8),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    )
    traced = torch.jit.trace(net.train(), torch.rand(2, 3, EDGE, EDGE), check_trace=False)
    traced.save(str(tmp_path / "t.pt"))
    message = refusal(CheckFailed, export, tmp_path / "t.pt", "torchscript-fp32", input_size=(EDGE, EDGE))
    assert message.startswith(
        "the answer to an image depends on the other images of its batch: the model was exported in training "
        "mode, or mixes images itself\n  expected: the same answer, whatever else is in the batch\n"
    )


def test_class_names_and_preprocessing_in_the_metadata_are_taken(
    plain: Path, tmp_path: Path, export: Export
) -> None:
    model = onnx.load(plain)
    said = {"author": "Ultralytics", "task": "classify", "imgsz": f"[{EDGE}, {EDGE}]"}
    for key, value in (said | {"names": "{0: 'cat', 1: 'dog', 2: 'fish', 3: 'owl'}"}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, tmp_path / "best.onnx")
    bundle = export(tmp_path / "best.onnx")
    assert bundle.labels == ("cat", "dog", "fish", "owl")
    assert (bundle.preprocess.resize, bundle.preprocess.crop) == (EDGE, (EDGE, EDGE))
    assert (bundle.preprocess.mean, bundle.preprocess.std) == ((0.0,) * 3, (1.0,) * 3)
    assert "4 class names were found in the file (names)" in bundle.manifest.notes
