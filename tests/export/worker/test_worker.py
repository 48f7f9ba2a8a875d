"""What the child interpreter does, run in this one: the eager model, its signature, its golden data."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from pinnace.export.preprocessing import Changes
from pinnace.export.request import ExportedFiles, ExportRequest
from pinnace.export.worker import golden_inputs, main
from pinnace.export.worker.inspect_model import KEPT_ROW
from pinnace.models.bundle import golden
from pinnace.models.errors import CheckFailed, PinnaceError, SourceError, UsageError
from pinnace.models.image.decode import open_image
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.loaders.base import imagenet_preprocess
from pinnace.models.progress import ignore
from pinnace.models.variant_name import VariantName
from support import sample_networks
from support.errors import refusal
from support.preprocessing import as_changes

pytestmark = pytest.mark.slow

GREY = Preprocess((16, 16), "bilinear", (16, 16), "L", (0.5,), (0.25,))


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "sample_networks", raising=False)


Export = Callable[..., ExportedFiles]


@pytest.fixture
def export(tiny_request: ExportRequest, tmp_path: Path) -> Export:
    """Load one of the sample networks and write its golden data, but no variants."""

    def run(network: str, **changes: object) -> ExportedFiles:
        arch = f"sample_networks:{network}"
        request = dataclasses.replace(tiny_request, **{"arch": arch, "variants": (), **changes})  # type: ignore[arg-type]
        return main.export_files(request, tmp_path, ignore)

    return run


def test_the_golden_outputs_are_those_of_eval_mode_although_the_factory_leaves_train_mode(
    export: Export, tmp_path: Path, tiny: torch.nn.Module
) -> None:
    assert sample_networks.Tiny().training
    result = export("Tiny")
    inputs, outputs = golden.read(tmp_path / golden.FILE)
    assert list(inputs) == ["input"]
    assert len(inputs["input"]) == result.samples == 10
    alone = [tiny(torch.from_numpy(one[None])).numpy() for one in inputs["input"]]
    np.testing.assert_array_equal(outputs["logits"], np.concatenate(alone), strict=True)


def test_golden_inputs_are_photographs_and_what_no_photograph_shows(
    export: Export, tmp_path: Path, tiny_request: ExportRequest
) -> None:
    result = export("Tiny")
    inputs = golden.read(tmp_path / golden.FILE)[0]["input"]
    assert result.photographs == {"golden/cat.jpg": 0, "golden/coffee.jpg": 1, "golden/rocket.jpg": 2}
    preprocess = result.preprocess
    assert preprocess == tiny_request.changes.apply(imagenet_preprocess())
    for path in golden_inputs.photographs():
        sample = result.photographs[f"golden/{path.name}"]
        assert (tmp_path / "golden" / path.name).read_bytes() == path.read_bytes()
        np.testing.assert_array_equal(inputs[sample], preprocess.apply(open_image(path)), strict=True)
    assert len({one.tobytes() for one in inputs}) == len(inputs)
    means = inputs.mean(axis=(1, 2, 3))
    assert (means > 0).any()
    assert (means < 0).any()
    assert np.isfinite(inputs).all()
    assert (inputs == 0).all(axis=(1, 2, 3)).any()


def test_golden_data_are_the_same_bytes_each_time(export: Export, tmp_path: Path) -> None:
    export("Tiny")
    first = (tmp_path / golden.FILE).read_bytes()
    export("Tiny")
    assert (tmp_path / golden.FILE).read_bytes() == first


def test_one_row_of_logits_is_a_classifier(export: Export) -> None:
    result = export("Tiny", variants=(VariantName("onnx", "fp32"),))
    assert result.ends["logits"].kind == "linear"
    assert str(result.signature.inputs[0]) == "input=float32[batch,3,16,16]"
    assert [str(spec) for spec in result.signature.outputs] == ["logits=float32[batch,5]"]


@pytest.mark.parametrize(
    ("network", "outputs"),
    [
        ("Pair", ["output_0=float32[batch,5]", "output_1=float32[batch,6]"]),
        ("Named", ["scores=float32[batch,5]", "embedding=float32[batch,6]"]),
    ],
)
def test_a_model_with_several_outputs_names_them(export: Export, network: str, outputs: list[str]) -> None:
    result = export(network, variants=(VariantName("onnx", "fp32"),))
    assert [str(spec) for spec in result.signature.outputs] == outputs
    assert list(result.ends) == [spec.partition("=")[0] for spec in outputs]


def test_a_grey_model_gets_one_channel(export: Export, tmp_path: Path) -> None:
    torch.save(sample_networks.Grey().state_dict(), tmp_path / "grey.pt")
    result = export("Grey", source=f"file:{tmp_path}/grey.pt", changes=as_changes(GREY))
    assert str(result.signature.inputs[0]) == "input=float32[batch,1,16,16]"
    assert golden.read(tmp_path / golden.FILE)[0]["input"].shape == (10, 1, 16, 16)


def test_num_classes_reaches_the_factory(export: Export, tmp_path: Path) -> None:
    torch.save(sample_networks.Tiny(num_classes=9).state_dict(), tmp_path / "nine.pt")
    result = export("Tiny", source=f"file:{tmp_path}/nine.pt", num_classes=9)
    assert str(result.signature.outputs[0]) == "logits=float32[batch,9]"


def test_another_input_size(export: Export) -> None:
    result = export("Tiny", input_size=(24, 32))
    assert str(result.signature.inputs[0]) == "input=float32[batch,3,24,32]"
    assert result.preprocess is not None
    assert (result.preprocess.resize, result.preprocess.crop) == ((24, 32), None)


def test_where_no_preprocessing_is_known_that_of_imagenet_is_assumed_and_said(export: Export) -> None:
    result = export("Tiny", changes=Changes())
    assert result.preprocess is not None
    assert (result.preprocess.resize, result.preprocess.crop) == (256, (224, 224))
    assert result.notes == (
        "the source does not say how images are preprocessed; assumed, as is customary for "
        "ImageNet: shortest edge to 256 and centre crop 224x224, bilinear, RGB, mean 0.485 0.456 0.406, "
        "std 0.229 0.224 0.225",
    )
    assert export("Tiny").notes == ()


def test_a_preprocessing_without_a_fixed_size(export: Export) -> None:
    preprocess = dataclasses.replace(GREY, resize=16, crop=None)
    assert refusal(UsageError, lambda: export("Tiny", changes=as_changes(preprocess))) == (
        "the preprocessing gives images of no fixed size\n  help: give it a crop, or an exact resize"
    )


KEEP_BATCH = "  help: the answer has to keep its first dimension, the batch: no squeeze() or [0] at the end"


@pytest.mark.parametrize(
    ("network", "kind", "message"),
    [
        (
            "Random",
            CheckFailed,
            "the model gives another answer each time for the same input, so no export can be proved\n"
            "  help: switch off what is random in it (dropout that ignores eval mode, noise)",
        ),
        ("NotANumber", CheckFailed, "the eager model answers with NaN or infinity in logits"),
        (
            "Talkative",
            SourceError,
            "the model returns something that is not a tensor: remark\n  got: str",
        ),
        (
            "OneNumber",
            SourceError,
            "the model's output logits is not one row for each image\n"
            "  expected: [1, ...] for one image\n  got: []\n" + KEEP_BATCH,
        ),
        (
            "Wandering",
            SourceError,
            "the model's output logits is not one row for each image\n"
            "  expected: [1, ...] for one image\n  got: [1, 1] and [1, 2]",
        ),
        (
            "FixedBatch",
            SourceError,
            "the model does not run on an input of shape [2, 3, 16, 16]: "
            "RuntimeError: shape '[1, 5]' is invalid for input of size 10\n"
            "  help: a model has to take any number of images at once",
        ),
        (
            "Summing",
            SourceError,
            "the model's output logits is not one row for each image\n"
            "  expected: [2, ...] for two images\n  got: [1, 5]\n" + KEEP_BATCH,
        ),
        (
            "Mixing",
            CheckFailed,
            "the answer to an image depends on the other images of its batch\n"
            "  expected: the same answer, whatever else is in the batch\n"
            "  got: a difference of 0.XX of the range of the answers\n"
            "  help: softmax and normalisations have to go over the classes or channels (dim=1), not over "
            "the images (dim=0)",
        ),
    ],
)
def test_a_model_that_cannot_be_exported(
    export: Export, network: str, kind: type[PinnaceError], message: str
) -> None:
    assert (
        re.sub(r"difference of [\d.]+", "difference of 0.XX", refusal(kind, lambda: export(network)))
        == message
    )


def test_a_network_that_squeezes_its_answer_to_one_image_keeps_its_row(
    export: Export, tmp_path: Path
) -> None:
    result = export("Squeezing", variants=(VariantName("onnx", "fp32"),))
    assert [str(spec) for spec in result.signature.outputs] == ["logits=float32[batch,5]"]
    assert KEPT_ROW in result.notes
    session = onnxruntime.InferenceSession(tmp_path / "onnx-fp32.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 3):
        (answers,) = session.run(None, {"input": np.zeros((count, 3, 16, 16), np.float32)})
        assert answers.shape == (count, 5)


def test_a_first_layer_of_another_number_of_channels_is_said(export: Export) -> None:
    message = refusal(SourceError, lambda: export("Tiny", changes=as_changes(GREY)))
    assert message.endswith("  help: the first layer takes images of three channels: --color RGB")


def test_a_model_for_larger_images(export: Export) -> None:
    message = refusal(SourceError, lambda: export("LargeInput"))
    assert message.startswith("the model does not run on an input of shape [1, 3, 16, 16]: RuntimeError: ")
    assert message.endswith("\n  help: give it another --input-size or --preprocess")
    assert len(message.splitlines()) == 2
