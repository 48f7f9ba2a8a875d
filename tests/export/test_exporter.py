"""A model becomes a bundle, or nothing: one real export looked at from all sides, and what must fail."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from pinnace.export import exporter, targets
from pinnace.export.exporter import export_bundle
from pinnace.export.outputs import ASSUMED_LOGITS
from pinnace.export.preprocessing import Changes, read_changes
from pinnace.export.request import ExportRequest
from pinnace.export.targets import Target
from pinnace.export.worker.main import export_files
from pinnace.models.bundle import golden
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.measurements import Tolerance
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.errors import CheckFailed, MissingDependency, UsageError
from pinnace.models.files import sha256
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.loaders.base import imagenet_preprocess
from pinnace.models.progress import Event, Progress, Stage
from pinnace.models.runtimes import readers_for, runtimes_for
from pinnace.models.selection import open_variant
from pinnace.models.variant_name import VariantName
from support.errors import refusal

pytestmark = pytest.mark.slow

CPU = targets.read("cpu")


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load and write in this interpreter, which saves seconds where the child is not the point."""

    def run(request: ExportRequest, folder: Path, log: Path, progress: Progress, *, timeout: float):
        return export_files(request, folder, progress)

    monkeypatch.setattr(exporter, "run_worker", run)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "sample_networks", raising=False)


@pytest.fixture
def torchscript(tiny_request: ExportRequest) -> ExportRequest:
    return dataclasses.replace(tiny_request, variants=(VariantName("torchscript", "fp32"),))


# One real export, through a child interpreter.


def test_a_bundle_holds_its_variants_labels_golden_data_and_nothing_else(
    exported: Bundle, tiny_request: ExportRequest
) -> None:
    assert {variant.name for variant in exported.manifest.variants} == set(map(str, tiny_request.variants))
    assert {"onnx-fp32", "torchscript-fp32"} <= set(map(str, tiny_request.variants))
    assert files(exported.folder) == {
        "manifest.json",
        "README.md",
        "labels.txt",
        "golden/golden.npz",
        "golden/cat.jpg",
        "golden/coffee.jpg",
        "golden/rocket.jpg",
        *(file for variant in exported.manifest.variants for file in variant.all_files),
    }
    assert [path.name for path in exported.folder.parent.iterdir()] == ["tiny.bundle"]


def test_every_file_but_the_manifest_is_hashed_and_measured(exported: Bundle) -> None:
    manifest = exported.manifest
    hashes = manifest.files | {variant.file: variant.sha256 for variant in manifest.variants}
    assert set(hashes) == files(exported.folder) - {"manifest.json"}
    assert {file: sha256(exported.folder / file) for file in hashes} == hashes
    for variant in manifest.variants:
        assert variant.bytes == sum((exported.folder / file).stat().st_size for file in variant.all_files)


def test_the_manifest_says_where_the_model_comes_from_and_what_made_the_bundle(
    exported: Bundle, tiny_request: ExportRequest
) -> None:
    manifest = exported.manifest
    assert (manifest.schema_version, manifest.name, manifest.source) == (2, "tiny", "file:tiny.pt")
    assert manifest.preprocess == tiny_request.changes.apply(imagenet_preprocess())
    assert exported.labels == ("0", "1", "2", "3", "4")
    assert manifest.tools["torch"] == torch.__version__.partition("+")[0]
    assert manifest.tools["onnxruntime"] == onnxruntime.__version__
    assert manifest.tools["python"] == sys.version.split()[0]
    assert {"pinnace", "onnx", "onnxscript"} <= set(manifest.tools)
    assert manifest.created.endswith("+00:00")
    assert manifest.notes == (
        ASSUMED_LOGITS.format("logits"),
        "the source has no class names: the numbers 0 to 4 stand for them, and --labels FILE names them",
    )
    assert manifest.outputs == Outputs("logits", "logits", "softmax", 5)


def test_every_variant_was_compared_with_the_eager_model(exported: Bundle) -> None:
    for variant in exported.manifest.variants:
        assert variant.tolerance == CPU.tolerance["fp32"] == Tolerance(max_rel=1e-3)
        assert variant.parity.max_rel < 1e-5
        assert variant.parity.cosine > 0.99999
        assert variant.parity.top1_agreement == 1
        assert variant.parity.samples == 10
        assert variant.parity.runtime in [reader.name for reader in runtimes_for(variant.format)]


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_the_onnx_file_answers_like_the_eager_model_in_plain_onnxruntime(
    exported: Bundle, tiny: torch.nn.Module, batch: int
) -> None:
    path = exported.path(exported.variant("onnx-fp32").file)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = np.random.default_rng(1).normal(size=(batch, 3, 16, 16)).astype(np.float32)
    (logits,) = session.run(["logits"], {"input": inputs})
    np.testing.assert_allclose(logits, tiny(torch.from_numpy(inputs)).numpy(), rtol=1e-4, atol=1e-5)


def test_the_onnx_file_has_the_opset_that_was_asked_for_and_a_named_batch(exported: Bundle) -> None:
    model = onnx.load(exported.path(exported.variant("onnx-fp32").file))
    onnx.checker.check_model(model, full_check=True)
    assert {opset.domain: opset.version for opset in model.opset_import}[""] == 18
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        3,
        16,
        16,
    ]
    assert {node.op_type for node in model.graph.node}.isdisjoint({"Dropout", "RandomUniform"})


def test_no_file_names_the_machine_it_was_made_on(exported: Bundle, workshop: Path) -> None:
    repository = Path(__file__).parents[2]
    traces = [str(workshop), str(repository), sys.prefix, str(Path.home()) + "/", "site-packages", ".py"]
    for file in files(exported.folder):
        if file.endswith((".onnx", ".json", ".txt", ".npz")):
            data = (exported.folder / file).read_bytes()
            assert [trace for trace in traces if trace.encode() in data] == [], file


def test_the_same_model_gives_the_same_bytes_in_another_process_and_folder(
    exported: Bundle, tiny_request: ExportRequest, tmp_path: Path, here: None
) -> None:
    request = dataclasses.replace(tiny_request, variants=(VariantName("onnx", "fp32"),))
    again = export_bundle(request, CPU, tmp_path / "again.bundle")
    assert again.variant("onnx-fp32").sha256 == exported.variant("onnx-fp32").sha256
    others = {file: sha for file, sha in again.manifest.files.items() if file != "README.md"}
    assert others.items() <= exported.manifest.files.items()
    assert again.name == "again"


# What else becomes a bundle.


@pytest.mark.parametrize(
    ("network", "names"), [("Pair", ["output_0", "output_1"]), ("Named", ["scores", "embedding"])]
)
def test_several_outputs_keep_their_names_in_every_format(
    tiny_request: ExportRequest,
    tiny: torch.nn.Module,
    tmp_path: Path,
    here: None,
    network: str,
    names: list[str],
) -> None:
    request = dataclasses.replace(tiny_request, arch=f"sample_networks:{network}")
    bundle = export_bundle(request, CPU, tmp_path / "out.bundle")
    chosen = {"Pair": Outputs("tensors"), "Named": Outputs("logits", "scores", "softmax", 5)}[network]
    assert bundle.outputs == chosen
    assert (bundle.manifest.labels is None) == (network == "Pair")
    inputs = np.random.default_rng(1).normal(size=(3, 3, 16, 16)).astype(np.float32)
    tensor = torch.from_numpy(inputs)
    want = [tiny(tensor).numpy(), tiny.features(tensor).numpy()]
    for variant in bundle.manifest.variants:
        assert variant.parity.top1_agreement == (None if network == "Pair" else 1)
        with open_variant(bundle, variant) as runtime:
            outputs = runtime.run({"input": inputs})
        assert list(outputs) == names
        for have, wanted in zip(outputs.values(), want, strict=True):
            np.testing.assert_allclose(have, wanted, rtol=1e-4, atol=1e-5)


def test_labels_of_the_user(torchscript: ExportRequest, tmp_path: Path, here: None) -> None:
    (tmp_path / "labels.txt").write_text(
        "rouge\r\nvert\r\nbleu\r\nnoir\r\nblanc cassé\r\n", encoding="utf-8-sig"
    )
    bundle = export_bundle(torchscript, CPU, tmp_path / "out.bundle", labels=tmp_path / "labels.txt")
    assert bundle.labels == ("rouge", "vert", "bleu", "noir", "blanc cassé")
    assert bundle.manifest.files["labels.txt"] == sha256(bundle.folder / "labels.txt")


def test_an_earlier_bundle_is_replaced_and_the_steps_are_told(
    torchscript: ExportRequest, own_copy: Bundle, here: None
) -> None:
    events: list[Event] = []
    bundle = export_bundle(torchscript, CPU, own_copy.folder, progress=events.append)
    assert [variant.name for variant in bundle.manifest.variants] == ["torchscript-fp32"]
    assert not (own_copy.folder / "onnx-fp32.onnx").exists()
    assert events == [
        Event(Stage.LOAD),
        Event(Stage.RUN_MODEL),
        Event(Stage.WRITE, "torchscript-fp32"),
        Event(Stage.COMPARE, "torchscript-fp32", "torchscript"),
    ]


# What fails, and leaves everything as it was.


@pytest.mark.parametrize(("count", "word"), [(2, "2"), (6, "6")])
def test_another_number_of_labels(
    torchscript: ExportRequest, tmp_path: Path, here: None, count: int, word: str
) -> None:
    (tmp_path / "labels.txt").write_text("name\n" * count)
    out = tmp_path / "out.bundle"
    message = refusal(
        UsageError, lambda: export_bundle(torchscript, CPU, out, labels=tmp_path / "labels.txt")
    )
    assert message == f"--labels: their number is not the model's\n  expected: 5\n  got: {word}"
    assert files(tmp_path) == {"labels.txt"}


def test_labels_for_a_model_that_is_no_classifier(
    torchscript: ExportRequest, tmp_path: Path, here: None
) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    request = dataclasses.replace(torchscript, arch="sample_networks:Pair")
    out = tmp_path / "out.bundle"
    assert refusal(UsageError, lambda: export_bundle(request, CPU, out, labels=tmp_path / "labels.txt")) == (
        "--labels: out has several outputs and nothing says which one is the answer, so it cannot classify "
        "images: output_0=float32[batch,5], output_1=float32[batch,6]\n"
        "  help: export again with --output NAME, such as --output output_0"
    )
    assert files(tmp_path) == {"labels.txt"}


def test_a_variant_outside_the_tolerance_leaves_no_bundle_but_a_script_that_shows_it(
    torchscript: ExportRequest, tmp_path: Path, here: None
) -> None:
    strict = dataclasses.replace(CPU, tolerance={"fp32": Tolerance(min_cosine=1.5)})
    message = refusal(CheckFailed, lambda: export_bundle(torchscript, strict, tmp_path / "out.bundle"))
    assert message == (
        "torchscript-fp32 in torchscript does not answer like the eager model; no bundle was written\n"
        "  expected: cosine similarity of at least 1.5\n"
        "  got: 1"
    )
    assert files(tmp_path) == {
        "out.bundle.reproduce.py",
        "out.bundle.reproduce/failing.npz",
        "out.bundle.reproduce/torchscript-fp32.pt",
    }


def test_a_variant_that_no_runtime_here_can_prove(
    torchscript: ExportRequest, tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = runtimes_for("torchscript")
    for reader in readers:
        monkeypatch.setattr(reader, "unavailable_reason", classmethod(lambda cls: "it is not installed"))
    assert refusal(MissingDependency, lambda: export_bundle(torchscript, CPU, tmp_path / "out.bundle")) == (
        "torchscript-fp32 cannot be proved here: no runtime that reads it is installed\n"
        "  help: " + " or ".join(reader.how_to_install() for reader in readers)
    )
    assert list(tmp_path.iterdir()) == []


def test_a_decision_that_depends_on_the_data_cannot_be_written_as_onnx(
    tiny_request: ExportRequest, tmp_path: Path, here: None
) -> None:
    request = dataclasses.replace(
        tiny_request, arch="sample_networks:Branching", variants=(VariantName("onnx", "fp32"),)
    )
    message = refusal(CheckFailed, lambda: export_bundle(request, CPU, tmp_path / "out.bundle"))
    sentence, *rest = message.splitlines()
    assert sentence.startswith("torch.onnx.export cannot export the network: ")
    assert "data-dependent" in sentence
    assert rest == ["  help: leave it out with --format torchscript"]
    assert files(tmp_path) == {"out.bundle.reproduce.py"}


def test_what_stands_at_the_output_and_is_no_bundle_is_left_alone_before_anything_is_loaded(
    torchscript: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "run_worker", lambda *args, **kwargs: pytest.fail("nothing must be loaded"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("precious")
    assert refusal(UsageError, lambda: export_bundle(torchscript, CPU, tmp_path / "thesis")) == (
        f"{tmp_path}/thesis already exists and was not written by this command, so it was not replaced\n"
        "  help: choose another output path"
    )
    assert (tmp_path / "thesis" / "chapter").read_text() == "precious"


def test_a_log_of_the_user_is_never_overwritten(
    torchscript: ExportRequest, tmp_path: Path, here: None
) -> None:
    (tmp_path / "out.log").write_text("precious")
    export_bundle(torchscript, CPU, tmp_path / "out")
    assert (tmp_path / "out.log").read_text() == "precious"


# Formats and targets.


def test_a_variant_that_no_format_writes(tiny_request: ExportRequest, tmp_path: Path, here: None) -> None:
    request = dataclasses.replace(tiny_request, variants=(VariantName("tflite", "fp32"),))
    message = refusal(UsageError, lambda: export_bundle(request, CPU, tmp_path / "out.bundle"))
    assert message.startswith("no format writes 'tflite-fp32'\n  expected: one of executorch-fp32, ")
    assert message.endswith("\n  got: tflite-fp32")
    assert list(tmp_path.iterdir()) == []


def test_every_target_that_comes_with_the_package_can_be_read() -> None:
    assert "cpu" in targets.names()
    for name in targets.names():
        target = targets.read(name)
        assert target.description
        assert target.variants


def test_an_unknown_target(tmp_path: Path) -> None:
    known = ", ".join(targets.names())
    for name in ("abacus", str(tmp_path / "none.toml")):
        assert refusal(UsageError, lambda name=name: targets.read(name)) == (
            f"there is no target {name!r}\n  expected: a TOML file or one of {known}\n  got: {name}"
        )


TARGET = 'description = "mine"\nopset = 17\nvariants = ["onnx-fp32"]\n[tolerance.fp32]\nmax_rel = 0.5\n'


def test_a_target_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TARGET)
    low = {precision: targets.read("cpu").tolerance[precision] for precision in ("fp16", "int8")}
    assert targets.read(str(tmp_path / "mine.toml")) == Target(
        "mine", 17, (VariantName("onnx", "fp32"),), {"fp32": Tolerance(max_rel=0.5), **low}
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('opset = "new"', "opset: Input should be a valid integer, unable to parse string as an integer"),
        ("opset = 17\ncolour = 1", "colour: Unexpected keyword argument"),
        ("", "opset: Field required"),
    ],
)
def test_a_target_of_the_user_with_a_wrong_field(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TARGET.replace("opset = 17", line))
    assert refusal(UsageError, lambda: targets.read(str(path))) == f"{path}: {message}"


def test_a_target_of_the_user_without_variants(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TARGET.replace('["onnx-fp32"]', "[]"))
    assert refusal(UsageError, lambda: targets.read(str(path))) == (
        f"{path}: variants: Tuple should have at least 1 item after validation, not 0"
    )


# The preprocessing of the user.


def test_fields_that_a_file_lacks_come_from_the_sources_own_preprocessing(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text("resize = 64\ncrop = [48, 32]\nexif = false\n")
    own = Preprocess(256, "bicubic", (224, 224), "RGB", (0.5,) * 3, (0.25,) * 3)
    assert read_changes(path).apply(own) == dataclasses.replace(own, resize=64, crop=(48, 32), exif=False)


def test_the_same_through_a_loader_and_the_child(
    tmp_path: Path, tiny_request: ExportRequest, here: None
) -> None:
    path = tmp_path / "p.toml"
    path.write_text("resize = [32, 32]\n")
    request = dataclasses.replace(
        tiny_request,
        source="timm:test_vit@none",  # its mean and std are not ImageNet's
        arch=None,
        changes=read_changes(path),
        variants=(VariantName("torchscript", "fp32"),),
        arguments=("img_size=32",),
    )
    preprocess = export_bundle(request, CPU, tmp_path / "out.bundle").manifest.preprocess
    assert preprocess is not None
    assert (preprocess.resize, preprocess.crop) == ((32, 32), None)
    assert preprocess.interpolation == "bicubic"
    assert preprocess.mean == preprocess.std == (0.5, 0.5, 0.5)


def test_options_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('resize = "none"\ncrop = [48, 32]\n')
    assert Changes(crop=(16, 16)).over(read_changes(path)) == Changes(resize="none", crop=(16, 16))


def test_an_exact_size_alone_is_not_cropped(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text("resize = [64, 48]\n")
    read = read_changes(path).apply(imagenet_preprocess())
    assert (read.resize, read.crop) == ((64, 48), None)


def test_a_grey_preprocessing_needs_no_mean_and_std(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('color = "L"\n')
    read = read_changes(path).apply(imagenet_preprocess())
    assert (read.color, read.mean, read.std) == ("L", (0,), (1,))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "sharpen = 1",
            "there is no field 'sharpen'\n"
            "  expected: resize, crop, interpolation, color, mean, std, exif, scale",
        ),
        ("crop = [224]", "crop: Field required"),
        ('mean = "grey"', "mean: Input should be a valid tuple"),
        (
            "mean = [0.5, 0.5]",
            "mean does not fit the channels\n"
            "  expected: a tuple of 3 finite numbers, one for each channel of RGB\n  got: (0.5, 0.5)",
        ),
        (
            "crop = [0, 224]",
            "crop is not a size\n"
            "  expected: a pair of positive ints (height, width), or None\n"
            "  got: (0, 224)",
        ),
        ('color = "GBR"', "color: Input should be 'RGB', 'BGR' or 'L'"),
    ],
)
def test_a_preprocessing_with_a_wrong_field(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(line)
    assert refusal(UsageError, lambda: read_changes(path)) == f"{path}: {message}"


def test_every_runtime_that_works_here_took_part_in_the_proof(
    tiny_request: ExportRequest, tmp_path: Path, here: None
) -> None:
    events: list[Event] = []
    request = dataclasses.replace(tiny_request, variants=(VariantName("onnx", "fp32"),))
    export_bundle(request, CPU, tmp_path / "out.bundle", progress=events.append)
    working = [reader.name for reader in readers_for("onnx") if reader.unavailable_reason() is None]
    compared = [event for event in events if event.stage is Stage.COMPARE]
    assert compared == [Event(Stage.COMPARE, "onnx-fp32", name) for name in working]


def test_golden_outputs_of_the_bundle_are_those_of_the_eager_network(
    exported: Bundle, tiny: torch.nn.Module
) -> None:
    inputs, outputs = golden.read(exported.path(golden.FILE))
    want = tiny(torch.from_numpy(np.asarray(inputs["input"]))).numpy()
    np.testing.assert_allclose(outputs["logits"], want, rtol=1e-5, atol=1e-6)
