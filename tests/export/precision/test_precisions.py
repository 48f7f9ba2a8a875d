"""A tiny network in every precision: the files, their proof, and what is refused."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from pinnace.cli import main
from pinnace.export import targets
from pinnace.export.exporter import Evidence, export_bundle
from pinnace.export.formats import all_formats, conversion_of, precision_of
from pinnace.export.precision.base import METHODS, ConversionInput
from pinnace.export.request import ExportRequest
from pinnace.export.validation.verify import passed, verify_bundle
from pinnace.models.bundle import golden
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.measurements import Tolerance
from pinnace.models.errors import CheckFailed, UsageError
from pinnace.models.files import sha256
from pinnace.models.variant_name import VariantName
from support.errors import refusal

pytestmark = pytest.mark.slow

CPU = targets.read("cpu")
# The logits of a network with random weights lie close together, so its int8 is allowed more.
LOOSE = dataclasses.replace(CPU.tolerance["int8"], max_mean_rel=0.2)
CPU = dataclasses.replace(CPU, tolerance=CPU.tolerance | {"int8": LOOSE})
CONVERSIONS = all_formats()["onnx"].conversions
VARIANTS = tuple(VariantName("onnx", kind) for kind in ("fp32", *CONVERSIONS))


@pytest.fixture(scope="module")
def converted(
    tiny_request: ExportRequest, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """The tiny network in every precision. Read only."""
    request = dataclasses.replace(tiny_request, variants=VARIANTS)
    target = dataclasses.replace(CPU, batch=(1, 64))
    out = tmp_path_factory.mktemp("converted") / "tiny.bundle"
    return export_bundle(request, target, out, evidence=Evidence(calibrate=pictures))


def graph(bundle: Bundle, name: str) -> onnx.ModelProto:
    return onnx.load(str(bundle.path(bundle.variant(name).file)))


def test_the_manifest_says_what_was_measured(converted: Bundle, pictures: Path) -> None:
    manifest = converted.manifest
    assert [variant.name for variant in manifest.variants] == list(map(str, VARIANTS))
    for variant in manifest.variants:
        assert variant.tolerance == CPU.tolerance[variant.precision]
        assert variant.proof is not None
        assert variant.parity is not None
        assert variant.parity.samples == (10 if variant.precision == "fp32" else 3)
        assert (variant.proof.images, variant.proof.runtime) == (24 + 3, "onnxruntime")
        assert variant.proof.mean_abs <= variant.proof.max_abs
        assert variant.proof.cosine > 0.9
    exact = [variant.proof.mean_rel for variant in manifest.variants if variant.proof]
    assert exact[0] < 1e-6 < exact[1] < 1e-3 < exact[2]
    activations = {variant.name: variant.activations for variant in manifest.variants}
    assert activations == {
        "onnx-fp32": None, "onnx-fp16": None, "onnx-int8": "uint8", "onnx-int8sym": "int8"
    }  # fmt: skip
    assert manifest.batch == (1, 64)
    assert manifest.runtimes == CPU.runtimes
    (broken,) = [note for note in manifest.notes if "broken.png" in note]
    assert broken == f"{pictures}/broken.png was skipped: the PNG image is damaged or cut short"
    assert "onnx-int8 was calibrated with 24 images, method minmax" in manifest.notes
    assert passed(verify_bundle(converted))


def test_what_people_see_of_a_low_precision_is_what_it_was_judged_on(
    converted: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {}
    for verb in ("inspect", "verify"):
        assert main.run([verb, str(converted.folder)]) == 0
        for line in capsys.readouterr().out.splitlines():
            cells = re.split(r" {2,}", line)
            if "onnxruntime" in cells:
                rows[verb, cells[0]] = cells
    proof = converted.variant("onnx-int8").proof
    assert proof is not None
    assert proof.top1_agreement is not None
    assert rows["inspect", "onnx-int8"][-3:] == [
        f"{proof.top1_agreement:.1%}",
        "27 photographs",
        "onnxruntime",
    ]
    assert rows["inspect", "onnx-fp32"][-3:-1] == ["100.0%", "10 inputs"]
    assert rows["verify", "onnx-int8"][-1] == "3 photographs"
    assert not any("%" in cell for cell in rows["verify", "onnx-int8"])
    assert rows["verify", "onnx-fp32"][-2:] == ["100.0%", "10 inputs"]


def test_the_card_is_hashed_and_has_a_row_for_each_variant(converted: Bundle) -> None:
    text = (converted.folder / "README.md").read_text()
    assert converted.manifest.files["README.md"] == sha256(converted.folder / "README.md")
    assert text.startswith("# tiny\n\nA model carried from `file:tiny.pt` by Pinnace ")
    for variant in converted.manifest.variants:
        share = variant.bytes / converted.variant("onnx-fp32").bytes
        size = f"{variant.bytes / 1e3:.1f} kB | {share:.0%}"
        assert f"| `{variant.name}` | `{variant.file}` | {size} | `{variant.sha256[:12]}` |" in text
    assert "- input `input=float32[batch,3,16,16]`" in text
    assert "- batches of 1 to 64" in text
    assert "- Onnx-int8 was calibrated with 24 images, method minmax." in text


@pytest.mark.parametrize("name", map(str, VARIANTS))
def test_inputs_and_outputs_stay_float32(converted: Bundle, name: str) -> None:
    model = graph(converted, name)
    onnx.checker.check_model(model, full_check=True)
    for value in [*model.graph.input, *model.graph.output]:
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    assert {opset.version for opset in model.opset_import if opset.domain == ""} == {18}


def test_int8_for_cpus_has_unsigned_activations_and_no_clipping_between(converted: Bundle) -> None:
    model = graph(converted, "onnx-int8")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantised = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {constants[node.input[2]].dtype for node in quantised} == {np.dtype("uint8")}
    assert "Relu" not in {node.op_type for node in model.graph.node}


def test_int8_for_tensorrt_has_signed_activations_zero_points_of_zero_and_float_biases(
    converted: Bundle,
) -> None:
    model = graph(converted, "onnx-int8sym")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()


@pytest.mark.parametrize("name", ["onnx-int8", "onnx-int8sym"])
def test_weights_have_a_scale_for_each_channel(converted: Bundle, name: str) -> None:
    model = graph(converted, name)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = {
        node.input[0]: constants[node.input[1]].size
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in constants
        and constants[node.input[0]].ndim > 1
    }
    assert sorted(weights.values()) == [5, 6]  # classes of the head, channels of the stem


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from pinnace.export.formats import all_formats
from pinnace.export.precision.base import ConversionInput
from pinnace.models.bundle import golden
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
images = np.random.default_rng(1).normal(size=(6, 3, 16, 16)).astype(np.float32)
inputs, _ = golden.read(folder / golden.FILE)
for kind, conversion in all_formats()["onnx"].conversions.items():
    for method in sys.argv[3:] if conversion.needs_images else sys.argv[3:4]:
        material = ConversionInput(folder / "onnx-fp32.onnx", inputs, "input", images, method)
        conversion.convert(material, out / f"{kind}-{method}.onnx")
"""


def test_the_same_conversion_twice_gives_the_same_bytes_whatever_the_method(
    converted: Bundle, tmp_path: Path
) -> None:
    folders = []
    for seed in ("1", "2"):
        folders.append(tmp_path / seed)
        folders[-1].mkdir()
        command = [sys.executable, "-c", SCRIPT, str(converted.folder), str(folders[-1]), *METHODS]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": seed}, check=True, stdout=subprocess.PIPE
        )
        assert done.stdout == b""  # which is for data
    first, second = ({path.name: sha256(path) for path in folder.iterdir()} for folder in folders)
    assert first == second
    assert len(first) == 1 + 2 * len(METHODS)
    assert len(set(first.values())) > 1 + 2  # the methods find different ranges


# What is refused.


def test_a_scale_that_was_broken_by_hand_is_found_by_verify(converted: Bundle, tmp_path: Path) -> None:
    folder = shutil.copytree(converted.folder, tmp_path / "tiny.bundle")
    path = folder / "onnx-int8.onnx"
    model = onnx.load(str(path))
    (scale,) = [t for t in model.graph.initializer if t.name.endswith("stem.weight_scale")]
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(8), scale.name))
    onnx.save(model, str(path))
    variants = tuple(
        dataclasses.replace(
            variant, sha256=sha256(folder / variant.file), bytes=(folder / variant.file).stat().st_size
        )
        for variant in converted.manifest.variants
    )
    document = dataclasses.replace(converted.manifest, variants=variants)
    (folder / "manifest.json").write_bytes(document.to_json())
    failed = [v for v in verify_bundle(Bundle.open(folder)) if v.passed is False]
    assert {verdict.variant.name for verdict in failed} == {"onnx-int8"}


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        ({"max_mean_rel": 1e-9}, "a mean difference of at most 1e-09 of the outputs' range"),
        ({"min_top5_overlap": 1.5}, "top-5 overlap of at least 150.0%"),
        ({"min_top1_agreement": 1.5}, "top-1 agreement of at least 150.0%"),
    ],
)
def test_each_bound_on_photographs_is_kept(
    tiny_request: ExportRequest, pictures: Path, tmp_path: Path, bound: dict[str, float], expected: str
) -> None:
    strict = dataclasses.replace(CPU, tolerance={"fp16": Tolerance(photographs_only=True, **bound)})
    request = dataclasses.replace(
        tiny_request, variants=(VariantName("onnx", "fp32"), VariantName("onnx", "fp16"))
    )
    message = refusal(
        CheckFailed,
        lambda: export_bundle(request, strict, tmp_path / "out.bundle", evidence=Evidence(images=pictures)),
    )
    sentence, wanted, *_ = message.splitlines()
    assert sentence == (
        "onnx-fp16 in onnxruntime does not answer like fp32 on 27 photographs; no bundle was written"
    )
    assert wanted == f"  expected: {expected}"


def test_int8_without_images_is_one_sentence(
    workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workshop)
    status = main.run(["export", "file:tiny.pt", "-o", str(tmp_path / "out"), "--precision", "int8"])
    assert (status, capsys.readouterr().err) == (
        2,
        "error: onnx-int8 needs images: its ranges are found by running the model on them\n"
        "  expected: --calibrate DIR, with about 100 to 500 photographs of the kind the model will meet\n",
    )


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        ({"max_drop": 1.0}, "--max-drop needs labelled images\n  expected: --images DIR"),
        (
            {"method": "guess"},
            "there is no such calibration method\n"
            "  expected: one of minmax, entropy, percentile\n  got: guess",
        ),
    ],
)
def test_evidence_that_makes_no_sense(evidence: dict[str, object], message: str) -> None:
    assert refusal(UsageError, lambda: Evidence(**evidence)) == message  # type: ignore[arg-type]


def test_every_conversion_is_named_by_its_format() -> None:
    for kind, conversion in CONVERSIONS.items():
        assert conversion_of(VariantName("onnx", kind)) is conversion
        assert precision_of(VariantName("onnx", kind)) == conversion.precision


def test_a_model_whose_golden_data_was_read_can_be_converted_without_images(
    converted: Bundle, tmp_path: Path
) -> None:
    inputs, _ = golden.read(converted.folder / golden.FILE)
    material = ConversionInput(converted.path("onnx-fp32.onnx"), inputs, "input")
    assert CONVERSIONS["fp16"].convert(material, tmp_path / "half.onnx").notes == ()
    assert sha256(tmp_path / "half.onnx") == converted.variant("onnx-fp16").sha256
