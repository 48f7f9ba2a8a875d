"""ONNX files as other tools write them: what they take, and which opset and precision they have."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import sklearn
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from PIL import Image

from pinnace.export import targets
from pinnace.export.exporter import Evidence, export_bundle
from pinnace.export.preprocessing import Changes
from pinnace.export.request import ExportRequest, OpsetOrigin
from pinnace.export.validation.verify import passed, verify_bundle
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.errors import BundleError, CheckFailed, UsageError
from pinnace.models.image.decode import open_image
from pinnace.models.runtimes import all_runtimes
from pinnace.models.selection import open_bundle, working_readers
from pinnace.models.variant_name import VariantName
from support.command_line import CommandLine
from support.errors import error_of, refusal
from support.small_networks import build

pytestmark = pytest.mark.slow

PHOTOGRAPHS = sorted((Path(sklearn.__file__).parent / "datasets" / "images").glob("*.jpg"))
EDGE = 32

Export = Callable[..., Bundle]
f = np.float32


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    net = build(4).eval()
    with torch.no_grad():
        net[4].weight *= 20
    return net


@pytest.fixture(scope="module")
def plain(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as ONNX of opset 13, which takes 0..1 of any batch."""
    path = tmp_path_factory.mktemp("onnx") / "plain.onnx"
    write(network, path, 13)
    return path


def write(network: torch.nn.Module, path: Path, opset: int, **options: Any) -> None:
    torch.onnx.export(
        network,
        (torch.rand(2, 3, EDGE, EDGE),),
        str(path),
        dynamo=False,
        opset_version=opset,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
        **options,
    )


def with_start(
    plain: Path,
    path: Path,
    nodes: list[tuple[Any, ...]],
    constants: dict[str, Any],
    kind: int,
    dims: list[Any],
) -> None:
    """The network behind other nodes, which make its input `x` of `data`."""
    model = onnx.load(plain)
    own = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(helper.make_node(op, ins, outs, **more) for op, ins, outs, more in nodes)
    model.graph.node.extend(own)
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("data", kind, dims))
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items())
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, path)


@pytest.fixture
def export(tmp_path: Path) -> Export:
    cpu = targets.read("cpu")

    def run(path: Path, *variants: str, evidence: Evidence | None = None, **changes: Any) -> Bundle:
        names = tuple(map(VariantName.parse, variants or ("onnx-fp32",)))
        request = ExportRequest(f"file:{path}", names, 18)
        request = dataclasses.replace(request, **changes)
        return export_bundle(request, cpu, tmp_path / "out.bundle", evidence=evidence)

    return run


def pixels(photograph: Path) -> np.ndarray:
    """As Keras' users do: squeezed into the size, float32 of 0..255, (height, width, 3)."""
    return np.asarray(
        Image.open(photograph).convert("RGB").resize((EDGE, EDGE), Image.Resampling.BILINEAR), f
    )


SQUEEZED = Changes(resize=(EDGE, EDGE))


def assert_answers_like(bundle: Bundle, file: Path, made: Callable[[np.ndarray], np.ndarray]) -> None:
    """What the bundle answers to photographs is what ONNX Runtime makes of the file by hand."""
    session = onnxruntime.InferenceSession(str(file))
    name = session.get_inputs()[0].name
    with Classifier(bundle) as classifier:
        for photograph in PHOTOGRAPHS:
            fed = made(pixels(photograph))[None]
            fixed = session.get_inputs()[0].shape[0]
            fed = np.repeat(fed, fixed, axis=0) if isinstance(fixed, int) else fed
            wanted = session.run(None, {name: fed})[0][0]
            given = classifier.prepare(open_image(photograph))
            np.testing.assert_array_equal(given[0], fed[0])
            np.testing.assert_allclose(classifier.infer(given)[0], wanted, rtol=1e-4, atol=1e-4)
    assert passed(verify_bundle(bundle))


UNIT: list[tuple[Any, ...]] = [("Div", ["data", "k"], ["x"], {})]
BYTES: list[tuple[Any, ...]] = [
    ("Cast", ["data"], ["a"], {"to": TensorProto.FLOAT}),
    ("Div", ["a", "k"], ["x"], {}),
]
TURNED: list[tuple[Any, ...]] = [("Transpose", ["data"], ["x"], {"perm": [0, 3, 1, 2]})]
LAST: list[tuple[Any, ...]] = [
    ("Div", ["data", "k"], ["a"], {}),
    ("Sub", ["a", "o"], ["b"], {}),
    ("Transpose", ["b"], ["x"], {"perm": [0, 3, 1, 2]}),
]
CHW = (2, 0, 1)
FLOAT = TensorProto.FLOAT


@pytest.mark.parametrize(
    ("nodes", "constants", "kind", "dims", "made"),
    [
        (UNIT, {"k": f(255)}, FLOAT, ["b", 3, EDGE, EDGE], lambda x: x.transpose(CHW)),
        (BYTES, {"k": f(255)}, TensorProto.UINT8, ["b", 3, EDGE, EDGE],
         lambda x: x.astype(np.uint8).transpose(CHW)),
        (LAST, {"k": f(127.5), "o": f(1)}, FLOAT, ["b", EDGE, EDGE, 3], np.asarray),
        (TURNED, {}, FLOAT, ["b", EDGE, EDGE, 3],
         lambda x: (x / f(255) - f(0.5)) / f(0.5)),
        ([("Cast", ["data"], ["x"], {"to": FLOAT})], {}, TensorProto.FLOAT16, ["b", 3, EDGE, EDGE],
         lambda x: ((x / f(255) - IMAGENET[0]) / IMAGENET[1]).transpose(CHW).astype(np.float16)),
        ([("Identity", ["data"], ["x"], {})], {}, FLOAT, ["b", "c", EDGE, EDGE],
         lambda x: ((x / f(255) - IMAGENET[0]) / IMAGENET[1]).transpose(CHW)),
    ],
    ids=["0..255 inside", "uint8", "channels last, inside", "channels last", "float16", "any channels"],
)  # fmt: skip
def test_what_a_file_takes_is_seen(
    plain: Path, tmp_path: Path, export: Export, nodes: list[tuple[Any, ...]], constants: dict[str, Any],
    kind: int, dims: list[Any], made: Callable[[np.ndarray], np.ndarray],
) -> None:  # fmt: skip
    with_start(plain, tmp_path / "n.onnx", nodes, constants, kind, dims)
    assert_answers_like(export(tmp_path / "n.onnx", changes=SQUEEZED), tmp_path / "n.onnx", made)


IMAGENET = np.array((0.485, 0.456, 0.406), f), np.array((0.229, 0.224, 0.225), f)


@pytest.mark.parametrize(
    "dims",
    [
        ["batch_size", "num_channels", "height", "width"],
        [None, 3, None, None],
        ["unk__1", 3, "unk__2", "unk__3"],
        ["DynamicDimension.0", "DynamicDimension.1", "DynamicDimension.2", "DynamicDimension.3"],
        [-1, 3, EDGE, EDGE],
        ["?", "?", "?", "?"],
    ],
    ids=str,
)
def test_dimensions_as_exporters_write_them(
    plain: Path, tmp_path: Path, export: Export, dims: list[Any]
) -> None:
    with_start(plain, tmp_path / "n.onnx", [("Identity", ["data"], ["x"], {})], {}, TensorProto.FLOAT, dims)
    bundle = export(tmp_path / "n.onnx", changes=SQUEEZED)
    assert str(bundle.manifest.signature.inputs[0]) == f"data=float32[batch,3,{EDGE},{EDGE}]"
    assert_answers_like(
        bundle, tmp_path / "n.onnx", lambda x: ((x / f(255) - IMAGENET[0]) / IMAGENET[1]).transpose(CHW)
    )


def test_a_size_that_nobody_says_is_assumed_and_said(plain: Path, tmp_path: Path, export: Export) -> None:
    dims = ["b", 3, "height", "width"]
    with_start(plain, tmp_path / "n.onnx", [("Identity", ["data"], ["x"], {})], {}, TensorProto.FLOAT, dims)
    bundle = export(tmp_path / "n.onnx")
    assert bundle.preprocess.crop == (224, 224)
    assert any("shortest edge to 256 and centre crop 224x224" in note for note in bundle.manifest.notes)


def test_a_fixed_batch_is_served(network: torch.nn.Module, tmp_path: Path, export: Export) -> None:
    torch.onnx.export(
        network, (torch.rand(3, 3, EDGE, EDGE),), str(tmp_path / "three.onnx"), dynamo=False, opset_version=17
    )
    bundle = export(tmp_path / "three.onnx", changes=SQUEEZED)
    assert bundle.manifest.signature.batch == 3
    assert_answers_like(
        bundle, tmp_path / "three.onnx", lambda x: ((x / f(255) - IMAGENET[0]) / IMAGENET[1]).transpose(CHW)
    )
    with Classifier(bundle) as classifier:
        images = np.concatenate([classifier.prepare(open_image(path)) for path in PHOTOGRAPHS * 2])
        together = classifier.infer(images)
        assert together.shape == (4, 4)
        np.testing.assert_allclose(together[0], classifier.infer(images[:1])[0], atol=1e-5)


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
    session = onnxruntime.InferenceSession(str(path))
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


@pytest.mark.parametrize(
    ("scale", "zero_point", "made"),
    [
        (1 / 255, -128, lambda x: x / f(255)),
        (1 / 128, 0, lambda x: x / f(127.5) - 1),
        (1.0, -128, lambda x: x),
        (0.018658, -14, lambda x: (x / f(255) - IMAGENET[0]) / IMAGENET[1]),
    ],
    ids=["0..1", "-1..1", "0..255", "ImageNet"],
)
def test_an_input_of_int8_is_an_image(
    plain: Path, tmp_path: Path, export: Export, scale: float, zero_point: int,
    made: Callable[[np.ndarray], np.ndarray],
) -> None:  # fmt: skip
    """As tf2onnx writes TensorFlow Lite's quantised models: int8, channels last, then DequantizeLinear."""
    nodes: list[tuple[Any, ...]] = [
        ("DequantizeLinear", ["data", "s", "z"], ["a"], {}),
        ("Transpose", ["a"], ["x"], {"perm": [0, 3, 1, 2]}),
    ]
    constants = {"s": f(scale), "z": np.int8(zero_point)}
    with_start(plain, tmp_path / "n.onnx", nodes, constants, TensorProto.INT8, [1, EDGE, EDGE, 3])
    bundle = export(tmp_path / "n.onnx", changes=SQUEEZED)
    assert str(bundle.manifest.signature.inputs[0]) == f"data=int8[1,{EDGE},{EDGE},3]"
    (note,) = [note for note in bundle.manifest.notes if note.startswith("the input is int8 with scale")]
    assert f"zero point {zero_point}" in note

    def quantised_by_hand(x: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(made(x) / f(scale)) + zero_point, -128, 127).astype(np.int8)

    session = onnxruntime.InferenceSession(str(tmp_path / "n.onnx"))
    with Classifier(bundle) as classifier:
        for photograph in PHOTOGRAPHS:
            fed = quantised_by_hand(pixels(photograph))[None]
            given = classifier.prepare(open_image(photograph))
            # Halves may be rounded to the other side.
            assert np.abs(given.astype(int) - fed).max() <= 1
            assert (given != fed).mean() < 1e-3
            np.testing.assert_allclose(
                classifier.infer(given), session.run(None, {"data": given})[0], rtol=1e-4, atol=1e-4
            )
    assert passed(verify_bundle(bundle))


def test_an_input_of_int8_whose_numbers_nobody_explains(plain: Path, tmp_path: Path, export: Export) -> None:
    nodes: list[tuple[Any, ...]] = [("Cast", ["data"], ["x"], {"to": TensorProto.FLOAT})]
    with_start(plain, tmp_path / "n.onnx", nodes, {}, TensorProto.INT8, ["b", 3, EDGE, EDGE])
    bundle = export(tmp_path / "n.onnx", changes=SQUEEZED)
    assert any("a pixel of 0..255 is given as pixel - 128" in note for note in bundle.manifest.notes)
    assert_answers_like(bundle, tmp_path / "n.onnx", lambda x: (x - 128).astype(np.int8).transpose(CHW))
