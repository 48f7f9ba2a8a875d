"""A variant of two files: a graph, and its weights beside it, as more than 2 GiB of them need."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from pinnace.export import exporter, targets
from pinnace.export.formats.onnx import external
from pinnace.export.request import ExportedFiles, ExportRequest
from pinnace.export.validation.verify import passed, verify_bundle
from pinnace.export.worker import main
from pinnace.latency.remote import bench as remote
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import BundleError, CheckFailed, PinnaceError, UsageError
from pinnace.models.progress import Progress
from pinnace.models.selection import open_variant
from pinnace.models.variant_name import VariantName
from pinnace.serving.packaging.bento import copy_bundle
from pinnace.serving.packaging.triton import build_repository
from support.errors import refusal

pytestmark = pytest.mark.slow

GRAPH, WEIGHTS = "onnx-fp32.onnx", "onnx-fp32.onnx.data"


def export(request: ExportRequest, out: Path) -> Bundle:
    """Export as if one file could hold 500 bytes, in this interpreter."""

    def here(
        request: ExportRequest, folder: Path, log: Path, progress: Progress, *, timeout: float
    ) -> ExportedFiles:
        return main.export_files(request, folder, progress)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external, "LARGEST", 500)
        patch.setattr(external, "SMALL", 100)
        patch.setattr(exporter, "run_worker", here)
        patch.syspath_prepend(request.folder)
        return exporter.export_bundle(request, targets.read("cpu"), out)


@pytest.fixture(scope="module")
def in_two(tiny_request: ExportRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Read only."""
    return export(tiny_request, tmp_path_factory.mktemp("two") / "two.bundle")


def test_the_manifest_knows_both(in_two: Bundle) -> None:
    variant = in_two.variant("onnx-fp32")
    assert (variant.file, variant.weights) == (GRAPH, WEIGHTS)
    assert variant.bytes == sum((in_two.folder / name).stat().st_size for name in (GRAPH, WEIGHTS))
    assert WEIGHTS in in_two.manifest.files
    others = [other for other in in_two.manifest.variants if other.format != "ncnn" and other is not variant]
    assert all(other.weights is None for other in others)
    assert passed(verify_bundle(in_two))


@pytest.mark.parametrize("damage", ["changed", "gone", "unsigned"])
def test_weights_that_are_not_what_was_exported_are_not_loaded(
    in_two: Bundle, tmp_path: Path, damage: str
) -> None:
    folder = shutil.copytree(in_two.folder, tmp_path / "own.bundle")
    bundle = Bundle.open(folder)
    if damage == "changed":
        data = bytearray((folder / WEIGHTS).read_bytes())
        data[-1] ^= 1
        (folder / WEIGHTS).write_bytes(data)
    elif damage == "gone":
        (folder / WEIGHTS).unlink()
    else:
        files = {name: digest for name, digest in bundle.manifest.files.items() if name != WEIGHTS}
        manifest = dataclasses.replace(bundle.manifest, files=files)
        bundle = dataclasses.replace(bundle, manifest=manifest)
    kind: type[PinnaceError] = CheckFailed if damage == "changed" else BundleError
    message = refusal(kind, lambda: open_variant(bundle, bundle.variant("onnx-fp32")))
    assert message.startswith(
        {
            "changed": f"{folder / WEIGHTS} has changed since it was exported",
            "gone": f"{folder} lacks {WEIGHTS}",
            "unsigned": f"{folder} has no hash of {WEIGHTS}",
        }[damage]
    )


def test_packages_and_devices_get_both(in_two: Bundle, tmp_path: Path) -> None:
    graph, script = (in_two.variant(name) for name in ("onnx-fp32", "torchscript-fp32"))
    copy_bundle(in_two, tmp_path / "onnx", (graph,))
    assert passed(verify_bundle(Bundle.open(tmp_path / "onnx")))
    copy_bundle(in_two, tmp_path / "script", (script,))
    assert not (tmp_path / "script" / WEIGHTS).exists()
    assert passed(verify_bundle(Bundle.open(tmp_path / "script")))
    made = build_repository(in_two, folder=tmp_path / "triton", variant="onnx-fp32", device="cpu")
    (version,) = made.folder.glob("*/1")
    assert sorted(path.name for path in version.iterdir()) == ["model.onnx", WEIGHTS]


def test_what_goes_to_a_device(in_two: Bundle) -> None:
    job = remote.Job(in_two, "onnx-fp32", None, end_to_end=False, arguments=())
    assert {GRAPH, WEIGHTS} < set(remote._files(job, ["onnxruntime"]))


@pytest.fixture(scope="module")
def given_in_two(tiny: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network as ONNX of opset 11 whose weights stand in several files; read only."""
    folder = tmp_path_factory.mktemp("given")
    torch.onnx.export(
        tiny, (torch.randn(2, 3, 16, 16),), folder / "whole.onnx", dynamo=False, opset_version=11,
        input_names=["image"], output_names=["scores"], dynamic_axes={"image": {0: "n"}, "scores": {0: "n"}},
    )  # fmt: skip
    model = onnx.load(folder / "whole.onnx")
    onnx.save(
        model,
        folder / "net.onnx",
        save_as_external_data=True,
        all_tensors_to_one_file=False,
        size_threshold=0,
    )
    assert len(list(folder.iterdir())) > 4
    return folder / "net.onnx"


def test_a_file_that_comes_with_its_weights_beside_it(
    given_in_two: Path, tiny: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    load = onnx.load

    def counted(path: object, *args: object, **options: object) -> onnx.ModelProto:
        loads.append(path)
        assert options.get("load_external_data") is False
        return load(path, *args, **options)

    monkeypatch.setattr(onnx, "load", counted)
    fp32, int8 = VariantName("onnx", "fp32"), VariantName("onnx", "int8")
    request = ExportRequest(f"file:{given_in_two}", (fp32, int8), 18, input_size=(16, 16))
    bundle = export(request, tmp_path / "given.bundle")
    assert loads.count(str(given_in_two)) == 1
    variant = bundle.variant()
    assert (variant.file, variant.weights) == (GRAPH, WEIGHTS)
    assert [each.name for each in bundle.manifest.variants] == ["onnx-fp32"]
    notes = bundle.manifest.notes
    assert (
        "the weights beside net.onnx are too many for one ONNX file, so in the bundle they stand beside the "
        f"graph as well, in {WEIGHTS}"
    ) in notes
    assert "the file was converted from opset 11 to 13" in notes
    model = load(bundle.path(GRAPH), load_external_data=False)
    assert model.opset_import[0].version == 13
    assert any(tensor.data_location for tensor in model.graph.initializer)
    onnx.checker.check_model(str(bundle.path(GRAPH)), full_check=True)
    inputs, outputs = bundle.golden()
    want = tiny(torch.from_numpy(np.asarray(inputs["image"]))).numpy()
    np.testing.assert_allclose(outputs["scores"], want, rtol=1e-4, atol=1e-5)
    assert passed(verify_bundle(bundle))
    copy_bundle(bundle, tmp_path / "copied", (variant,))
    assert passed(verify_bundle(Bundle.open(tmp_path / "copied")))
    assert sorted(path.name for path in given_in_two.parent.iterdir() if "onnx-" in path.name) == []


def test_no_other_precision_is_made_of_it(tiny_request: ExportRequest, tmp_path: Path) -> None:
    fp32, int8 = VariantName("onnx", "fp32"), VariantName("onnx", "int8")
    asked = dataclasses.replace(tiny_request, variants=(fp32, int8))
    bundle = export(asked, tmp_path / "default.bundle")
    assert [variant.name for variant in bundle.manifest.variants] == ["onnx-fp32"]
    reason = "they are made of an ONNX file that holds its weights, and of this the weights stand beside it"
    assert f"onnx-int8 is left out: {reason}" in bundle.manifest.notes
    named = dataclasses.replace(asked, named=True)
    assert refusal(UsageError, lambda: export(named, tmp_path / "named.bundle")) == (
        f"onnx-int8 cannot be made: {reason}\n  help: leave out --precision"
    )
