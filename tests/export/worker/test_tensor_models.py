"""Models that take no image, or a batch of one size, or are ONNX already: signature, golden data, proof."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from pinnace.export import exporter, targets
from pinnace.export.exporter import export_bundle
from pinnace.export.inputs import parse_inputs
from pinnace.export.outputs import ASSUMED_LOGITS
from pinnace.export.preprocessing import Changes
from pinnace.export.request import ExportRequest
from pinnace.export.validation.verify import passed, verify_bundle
from pinnace.export.worker import inspect_model
from pinnace.export.worker.main import export_files
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.errors import SourceError, UsageError
from pinnace.models.files import sha256
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.progress import Progress
from pinnace.models.selection import open_variant
from pinnace.models.variant_name import VariantName
from support.errors import refusal
from support.preprocessing import as_changes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

VARIANTS = (VariantName("onnx", "fp32"), VariantName("torchscript", "fp32"))
CPU = dataclasses.replace(targets.read("cpu"), variants=VARIANTS)
NETWORKS = """
import torch
from torch import nn

class Words(nn.Module):
    "Takes floats and indices, gives three outputs, one of them as long as the text."
    def __init__(self, width=8):
        super().__init__()
        self.line = nn.Linear(width, 4)
        self.table = nn.Embedding(50, 4)

    def forward(self, x, words):
        line, table = self.line(x), self.table(words)
        return {"line": line, "text": table.mean(1) * line, "each": table}

class Mixed(Words):
    "Its second input and its second output know no batch."
    def forward(self, x, scale):
        line = self.line(x) * scale
        return line, line.sum()

class Boxes(Words):
    def forward(self, x):
        return x[x > 0]
"""


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load and write in this interpreter, which saves seconds where the child is not the point."""

    def run(request: ExportRequest, folder: Path, log: Path, progress: Progress, *, timeout: float):
        return export_files(request, folder, progress)

    monkeypatch.setattr(exporter, "run_worker", run)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("sample_networks", "word_networks"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bundle]:
    """Export one of the networks above."""
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "word_networks.py").write_text(NETWORKS)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(folder))
        torch.save(__import__("word_networks").Words().state_dict(), folder / "words.pt")
    monkeypatch.delitem(sys.modules, "word_networks")

    def export(network: str, *inputs: str, **changes: object) -> Bundle:
        request = ExportRequest(
            source="file:words.pt",
            variants=VARIANTS,
            opset=18,
            arch=f"word_networks:{network}",
            inputs=parse_inputs(inputs),
            folder=str(folder),
        )
        return export_bundle(dataclasses.replace(request, **changes), CPU, tmp_path / "out.bundle")  # type: ignore[arg-type]

    return export


def specs(bundle: Bundle) -> tuple[list[str], list[str]]:
    signature = bundle.manifest.signature
    return list(map(str, signature.inputs)), list(map(str, signature.outputs))


def test_several_inputs_and_outputs_of_several_kinds(words: Callable[..., Bundle]) -> None:
    bundle = words("Words", "x=float32[batch,8]", "words=int64[batch,length]")
    assert specs(bundle) == (
        ["x=float32[batch,8]", "words=int64[batch,length]"],
        ["line=float32[batch,4]", "text=float32[batch,4]", "each=float32[batch,length,4]"],
    )
    assert (bundle.manifest.preprocess, bundle.manifest.labels) == (None, None)
    assert bundle.manifest.notes == (
        "the dimension length was proved at 32 only",
        "out takes no image but x=float32[batch,8], words=int64[batch,length], so it cannot be served; "
        "`pinnace verify` and `pinnace bench` work with it; open it in Python with "
        "pinnace.models.runtimes.open_bundle",
    )
    assert [variant.name for variant in bundle.manifest.variants] == ["onnx-fp32", "torchscript-fp32"]
    assert passed(verify_bundle(bundle))
    feeds = {"x": np.ones((5, 8), np.float32), "words": np.arange(35).reshape(5, 7)}
    answers = []
    for variant in bundle.manifest.variants:
        with open_variant(bundle, variant) as runtime:
            answers.append(runtime.run(feeds))
    assert answers[0]["each"].shape == (5, 7, 4)
    for name in ("line", "text", "each"):
        np.testing.assert_allclose(answers[0][name], answers[1][name], rtol=1e-5, atol=1e-6)
    message = refusal(UsageError, lambda: Classifier(bundle))
    assert message.startswith(
        "out takes no image but x=float32[batch,8], words=int64[batch,length], so it cannot classify images\n"
    )


def test_inputs_and_outputs_that_know_no_batch(words: Callable[..., Bundle]) -> None:
    bundle = words("Mixed", "x=float32[3,8]", "scale=float32[]")
    assert specs(bundle) == (
        ["x=float32[3,8]", "scale=float32[]"],
        ["output_0=float32[3,4]", "output_1=float32[]"],
    )
    assert bundle.golden()[0]["x"].shape == (6, 3, 8)
    assert all(variant.parity.max_rel < 1e-5 for variant in bundle.manifest.variants)
    assert passed(verify_bundle(bundle))


def test_a_model_that_is_wrong_is_seen_without_a_batch_too(words: Callable[..., Bundle]) -> None:
    bundle = words("Mixed", "x=float32[3,8]", "scale=float32[]", variants=(VariantName("onnx", "fp32"),))
    path = bundle.path("onnx-fp32.onnx")
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        tensor.raw_data = bytes(len(tensor.raw_data))
    onnx.save(model, path)
    variant = dataclasses.replace(bundle.manifest.variants[0], sha256=sha256(path), bytes=path.stat().st_size)
    damaged = Bundle(bundle.folder, dataclasses.replace(bundle.manifest, variants=(variant,)))
    assert not passed(verify_bundle(damaged, runtime="onnxruntime"))


def test_outputs_of_no_fixed_shape(words: Callable[..., Bundle]) -> None:
    message = refusal(SourceError, lambda: words("Boxes", "x=float32[batch,8]"))
    assert message.startswith("the model's output logits ")


def test_inputs_that_the_model_does_not_take(words: Callable[..., Bundle]) -> None:
    message = refusal(SourceError, lambda: words("Words", "x=float32[batch,9]", "words=int64[batch,5]"))
    assert message == (
        "the model does not run on inputs of shape [1, 9] and [1, 5]: "
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x9 and 8x4)\n  help: check --input"
    )
    message = refusal(UsageError, lambda: words("Words", "x=float32[batch,8]", input_size=(32, 32)))
    assert message == (
        "the model takes no image that a bundle can prepare, so a preprocessing or an input size means "
        "nothing to it\n"
        "  expected: one input such as float32[batch,3,224,224]: a batch of images of 1 or 3 channels\n"
        "  got: x=float32[batch,8]\n"
        "  help: write the network with such an input; without these options it becomes a bundle for "
        "`pinnace verify` and `pinnace bench`"
    )


# ONNX files.


@pytest.fixture(scope="module")
def onnx_files(tmp_path_factory: pytest.TempPathFactory, tiny: torch.nn.Module) -> Path:
    """The tiny network as ONNX: with any batch, with a batch of 1 and of 4, with its weights beside it."""
    folder = tmp_path_factory.mktemp("onnx")
    names = {"input_names": ["image"], "output_names": ["scores"], "dynamo": False}
    for name, batch, opset in (("any", 2, 18), ("one", 1, 11), ("four", 4, 18)):
        axes = {"image": {0: "n"}, "scores": {0: "n"}} if name == "any" else None
        inputs = (torch.randn(batch, 3, 16, 16),)
        path = folder / f"{name}.onnx"
        torch.onnx.export(tiny, inputs, path, opset_version=opset, dynamic_axes=axes, **names)
    model = onnx.load(folder / "any.onnx")
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save(model, folder / "beside.onnx", **options)
    return folder


@pytest.fixture
def from_onnx(onnx_files: Path, tmp_path: Path) -> Callable[..., Bundle]:
    def export(name: str, **changes: object) -> Bundle:
        request = ExportRequest(f"file:{name}", VARIANTS, 18, folder=str(onnx_files))
        return export_bundle(dataclasses.replace(request, **changes), CPU, tmp_path / "out.bundle")  # type: ignore[arg-type]

    return export


PREPROCESS = Preprocess((16, 16), "bilinear", None, "RGB", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def test_an_onnx_file_becomes_a_variant_as_it_is(
    from_onnx: Callable[..., Bundle], onnx_files: Path, tiny: torch.nn.Module
) -> None:
    bundle = from_onnx("any.onnx", changes=as_changes(PREPROCESS))
    (variant,) = bundle.manifest.variants
    assert variant.name == "onnx-fp32"
    assert variant.sha256 == sha256(onnx_files / "any.onnx")
    assert specs(bundle) == (["image=float32[batch,3,16,16]"], ["scores=float32[batch,5]"])
    assert bundle.manifest.notes == (
        "an ONNX file is not converted to other formats: torchscript-fp32 was left out",
        inspect_model.OWN_ANSWERS,
        ASSUMED_LOGITS.format("scores"),
        "the source has no class names: the numbers 0 to 4 stand for them, and --labels FILE names them",
    )
    assert bundle.labels == ("0", "1", "2", "3", "4")
    inputs, outputs = bundle.golden()
    want = tiny(torch.from_numpy(np.asarray(inputs["image"]))).numpy()
    np.testing.assert_allclose(outputs["scores"], want, rtol=1e-4, atol=1e-5)
    assert passed(verify_bundle(bundle))


@pytest.mark.parametrize(
    ("name", "batch", "note"),
    [
        ("one.onnx", 1, "the model takes one image at a time"),
        ("four.onnx", 4, inspect_model.FIXED_BATCH.format(4)),
    ],
)
def test_a_batch_of_one_size_is_kept_and_said(
    from_onnx: Callable[..., Bundle], name: str, batch: int, note: str
) -> None:
    bundle = from_onnx(name, changes=as_changes(PREPROCESS))
    assert specs(bundle) == ([f"image=float32[{batch},3,16,16]"], [f"scores=float32[{batch},5]"])
    assert note in bundle.manifest.notes
    assert bundle.manifest.batch == (batch, batch)
    assert passed(verify_bundle(bundle))


def test_weights_beside_the_file_are_moved_into_it(
    from_onnx: Callable[..., Bundle], onnx_files: Path, tmp_path: Path
) -> None:
    bundle = from_onnx("beside.onnx", changes=as_changes(PREPROCESS))
    assert "the weights beside beside.onnx were moved into the file" in bundle.manifest.notes
    session = onnxruntime.InferenceSession(str(bundle.path("onnx-fp32.onnx")))
    assert session.run(None, {"image": np.zeros((1, 3, 16, 16), np.float32)})[0].shape == (1, 5)
    lonely = tmp_path / "beside.onnx"
    lonely.write_bytes((onnx_files / "beside.onnx").read_bytes())
    message = refusal(SourceError, lambda: from_onnx(str(lonely)))
    assert message.startswith(f"the weights beside {lonely} cannot be read: ")
    assert message.endswith("\n  help: copy the files that lie beside it as well")


def test_an_onnx_file_that_names_weights_outside_its_folder_is_refused(
    from_onnx: Callable[..., Bundle], onnx_files: Path, tmp_path: Path
) -> None:
    model = onnx.load(onnx_files / "beside.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "/etc/hostname"
    path = tmp_path / "thief.onnx"
    path.write_bytes(model.SerializeToString())
    message = refusal(SourceError, lambda: from_onnx(str(path)))
    assert message.startswith(f"the weights beside {path} cannot be read: ")


@pytest.mark.parametrize("data", [b"", b"x", b"\x08\x07" + bytes(50), bytes(range(256))])
def test_what_is_no_onnx(from_onnx: Callable[..., Bundle], tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    message = refusal(SourceError, lambda: from_onnx(str(path)))
    assert message.startswith(f"{path} cannot be read as an ONNX model: " if data else f"{path} is empty")


def test_the_size_that_a_file_takes_is_kept_unless_another_is_asked_for(
    from_onnx: Callable[..., Bundle],
) -> None:
    bundle = from_onnx("any.onnx", changes=Changes(mean=(0.0,) * 3))
    assert bundle.manifest.preprocess is not None
    assert bundle.manifest.preprocess.crop == (16, 16)
    assert (
        "the source does not say how images are preprocessed; assumed, as is customary for "
        "ImageNet: shortest edge to 18 and centre crop 16x16, bilinear, RGB, std 0.229 0.224 0.225"
    ) in bundle.manifest.notes
    assert refusal(UsageError, lambda: from_onnx("any.onnx", input_size=(32, 32))) == (
        "the preprocessing does not make what the model takes\n"
        "  expected: image=float32[batch,3,16,16]\n  got: float32[batch,3,32,32]\n"
        "  help: give it another --input-size, --crop or --color"
    )


def test_what_means_nothing_for_onnx(from_onnx: Callable[..., Bundle]) -> None:
    assert refusal(
        UsageError, lambda: from_onnx("any.onnx", variants=(VariantName("torchscript", "fp32"),))
    ) == (
        "file:any.onnx is an ONNX file already and is not converted to other formats\n"
        "  expected: the variant onnx-fp32"
    )
    assert refusal(UsageError, lambda: from_onnx("any.onnx", inputs=parse_inputs(["x=int8[3]"]))) == (
        "--input does not apply to file:any.onnx: the file says what it takes\n"
        "  expected: image=float32[batch,3,16,16]"
    )


# TorchScript and torch.export, of which both variants are made.


@pytest.mark.parametrize("name", ["traced.pt", "scripted.pt", "program.pt2"])
def test_other_exported_files_become_both_formats(tmp_path: Path, tiny: torch.nn.Module, name: str) -> None:
    inputs = torch.randn(2, 3, 16, 16)
    if name == "program.pt2":
        shapes = ({0: torch.export.Dim("n")},)
        torch.export.save(torch.export.export(tiny, (inputs,), dynamic_shapes=shapes), tmp_path / name)
    else:
        script = torch.jit.trace(tiny, inputs) if name == "traced.pt" else torch.jit.script(Turning(tiny))
        torch.jit.save(script, tmp_path / name)
    request = ExportRequest(
        f"file:{name}", VARIANTS, 18, changes=as_changes(PREPROCESS), trust=True, folder=str(tmp_path)
    )
    bundle = export_bundle(request, CPU, tmp_path / "out.bundle")
    assert [variant.name for variant in bundle.manifest.variants] == ["onnx-fp32", "torchscript-fp32"]
    assert inspect_model.OWN_ANSWERS in bundle.manifest.notes
    assert bundle.manifest.signature.batch == "batch"
    feeds = {bundle.manifest.signature.inputs[0].name: inputs.numpy()}
    for variant in bundle.manifest.variants:
        with open_variant(bundle, variant) as runtime:
            np.testing.assert_allclose(
                runtime.run(feeds)["logits"], tiny(inputs).numpy(), rtol=1e-4, atol=1e-5
            )


class Turning(torch.nn.Module):
    """A decision that depends on the data, which a script keeps and a trace would freeze."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = torch.jit.trace(network, torch.randn(2, 3, 16, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] > 12:
            return self.network(x)
        return -self.network(x) if bool(x[0, 0, 0, 0] > 1e6) else self.network(x)
