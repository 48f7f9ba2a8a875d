"""Verify: a good bundle passes, and every kind of damage is found and named."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pinnace.cli import main
from pinnace.export.validation.verify import Verdict, check_preprocessing, passed, verify_bundle
from pinnace.models.bundle import golden
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import BundleError, CheckFailed, UsageError
from pinnace.models.files import sha256
from pinnace.models.progress import Event, Stage
from pinnace.models.runtimes import runtimes_for
from support.errors import refusal


def flip_last_byte(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def sign(bundle: Bundle) -> Bundle:
    """The bundle with the hashes and sizes of the files as they are: what a careful forger would leave."""
    manifest = bundle.manifest
    variants = tuple(
        dataclasses.replace(
            variant,
            sha256=sha256(bundle.folder / variant.file),
            bytes=sum(bundle.path(file).stat().st_size for file in variant.all_files),
        )
        for variant in manifest.variants
    )
    files = {file: sha256(bundle.folder / file) for file in manifest.files}
    signed = dataclasses.replace(manifest, variants=variants, files=files)
    (bundle.folder / "manifest.json").write_bytes(signed.to_json())
    return Bundle.open(bundle.folder)


def edit_onnx(bundle: Bundle, edit: Callable[[onnx.ModelProto], None]) -> Bundle:
    path = bundle.path(bundle.variant("onnx-fp32").file)
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    return sign(bundle)


def of(verdicts: list[Verdict], variant: str, runtime: str | None) -> Verdict:
    (found,) = [v for v in verdicts if (v.variant.name, v.runtime) == (variant, runtime)]
    return found


def test_a_good_bundle_passes_in_every_runtime_that_works_here(exported: Bundle) -> None:
    events: list[Event] = []
    verdicts = verify_bundle(exported, progress=events.append)
    assert passed(verdicts)
    assert {v.variant.name for v in verdicts} == {variant.name for variant in exported.manifest.variants}
    for verdict in verdicts:
        works = {r.name: r.unavailable_reason() is None for r in runtimes_for(verdict.variant.format)}
        assert verdict.runtime is not None
        assert verdict.passed is (True if works[verdict.runtime] else None)
        if verdict.passed:
            assert verdict.problem is None
            assert verdict.parity is not None
            assert verdict.parity.max_rel < 1e-3
            assert Event(Stage.COMPARE, verdict.variant.name, verdict.runtime) in events
    assert events[0] == Event(Stage.CHECK_FILES)


def test_one_variant_in_one_runtime(exported: Bundle) -> None:
    (verdict,) = verify_bundle(exported, variant="onnx-fp32", runtime="onnxruntime")
    assert (verdict.variant.name, verdict.runtime, verdict.passed) == ("onnx-fp32", "onnxruntime", True)


def test_a_changed_byte_in_a_variant_fails_that_variant_alone(own_copy: Bundle) -> None:
    path = own_copy.path(own_copy.variant("onnx-fp32").file)
    flip_last_byte(path)
    verdicts = verify_bundle(own_copy)
    assert not passed(verdicts)
    verdict = of(verdicts, "onnx-fp32", None)
    assert verdict.passed is False
    assert verdict.parity is None
    assert verdict.problem == (
        f"{path} has changed since it was exported\n"
        f"  expected: sha256 {own_copy.variant('onnx-fp32').sha256}\n"
        f"  got: sha256 {sha256(path)}\n"
        "  help: export the model again, or copy the bundle again"
    )
    assert of(verdicts, "torchscript-fp32", "torchscript").passed is True


@pytest.mark.parametrize("file", ["labels.txt", "golden/golden.npz", "golden/cat.jpg"])
def test_a_changed_byte_elsewhere_is_found(own_copy: Bundle, file: str) -> None:
    flip_last_byte(own_copy.path(file))
    message = refusal(CheckFailed, lambda: verify_bundle(own_copy))
    assert message.startswith(
        f"{own_copy.folder}/{file} has changed since it was exported\n  expected: sha256 "
    )


@pytest.mark.parametrize("file", ["labels.txt", "golden/golden.npz", "onnx-fp32.onnx"])
def test_a_missing_file_is_named(own_copy: Bundle, file: str) -> None:
    (own_copy.folder / file).unlink()
    assert refusal(BundleError, lambda: verify_bundle(own_copy)) == (
        f"{own_copy.folder} lacks {file}\n  help: export the model again"
    )


def test_another_model_under_a_corrected_hash_fails_parity(own_copy: Bundle) -> None:
    def other_weights(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.dtype == np.float32:
                tensor.CopyFrom(numpy_helper.from_array(array * np.float32(1.02), tensor.name))

    verdicts = verify_bundle(edit_onnx(own_copy, other_weights))
    assert not passed(verdicts)
    verdict = of(verdicts, "onnx-fp32", "onnxruntime")
    assert verdict.passed is False
    assert verdict.parity is not None
    assert verdict.problem == (
        f"expected at most 0.001 of the outputs' range, "
        f"got {verdict.parity.max_rel:.3g} (largest difference {verdict.parity.max_abs:.3g})"
    )
    assert of(verdicts, "torchscript-fp32", "torchscript").passed is True


def test_another_model_with_other_names_is_a_verdict_and_no_crash(own_copy: Bundle) -> None:
    def other_output(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.output[:] = ["scores" if name == "logits" else name for name in node.output]
        model.graph.output[0].name = "scores"

    bundle = edit_onnx(own_copy, other_output)
    verdict = of(verify_bundle(bundle), "onnx-fp32", "onnxruntime")
    assert verdict.passed is False
    assert verdict.problem is not None
    assert str(bundle.folder / "onnx-fp32.onnx") in verdict.problem


def test_a_damaged_variant_under_a_corrected_hash_is_a_verdict_and_no_crash(own_copy: Bundle) -> None:
    path = own_copy.path("torchscript-fp32.pt")
    path.write_bytes(path.read_bytes()[:1000])
    verdict = of(verify_bundle(sign(own_copy)), "torchscript-fp32", "torchscript")
    assert verdict.passed is False
    assert verdict.problem is not None
    assert verdict.problem.startswith(f"torch cannot load {path}: ")


def test_golden_outputs_under_a_corrected_hash_fail_every_variant(own_copy: Bundle) -> None:
    inputs, outputs = own_copy.golden()
    golden.write(own_copy.path(golden.FILE), inputs, {"logits": outputs["logits"][::-1]})
    verdicts = verify_bundle(sign(own_copy))
    assert all(verdict.passed is not True for verdict in verdicts)
    assert not passed(verdicts)


def test_a_machine_that_preprocesses_otherwise_is_found(
    own_copy: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, outputs = own_copy.golden()
    images = np.array(inputs["input"])
    images[1, 0, 0, 0] += np.float32(0.5)
    golden.write(own_copy.path(golden.FILE), {"input": images}, outputs)
    difference = float(np.abs(images - inputs["input"]).max())
    assert refusal(CheckFailed, lambda: verify_bundle(sign(own_copy))) == (
        "this machine preprocesses golden/coffee.jpg otherwise than the exporting machine did\n"
        "  expected: the same input to the bit\n"
        f"  got: a difference of up to {difference:.3g} after normalisation\n"
        "  help: install the Pillow version in the manifest's tools"
    )


def test_a_bundle_without_photographs_has_no_preprocessing_to_check(own_copy: Bundle) -> None:
    manifest = dataclasses.replace(
        own_copy.manifest,
        golden=dataclasses.replace(own_copy.manifest.golden, photographs=()),
        preprocess=None,
    )
    check_preprocessing(Bundle(own_copy.folder, manifest))


def test_a_runtime_that_is_missing_is_reported_as_not_run(
    exported: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reader in runtimes_for("onnx"):
        monkeypatch.setattr(reader, "unavailable_reason", classmethod(lambda cls: "it is at the menders"))
    verdicts = verify_bundle(exported)
    (verdict, *_) = [v for v in verdicts if v.variant.name == "onnx-fp32"]
    assert (verdict.passed, verdict.parity) == (None, None)
    assert verdict.problem is not None
    assert verdict.problem.startswith("it is at the menders")
    assert of(verdicts, "torchscript-fp32", "torchscript").passed is True
    assert passed(verdicts)


def test_where_nothing_could_be_run_nothing_has_passed(
    exported: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variant in exported.manifest.variants:
        for reader in runtimes_for(variant.format):
            monkeypatch.setattr(reader, "unavailable_reason", classmethod(lambda cls: "it is at the menders"))
    verdicts = verify_bundle(exported)
    assert {verdict.passed for verdict in verdicts} == {None}
    assert not passed(verdicts)


def test_an_unknown_variant_and_an_unknown_runtime(exported: Bundle) -> None:
    assert refusal(UsageError, lambda: verify_bundle(exported, variant="onnx-int1")).startswith(
        f"{exported.folder} has no variant onnx-int1\n"
    )
    assert refusal(UsageError, lambda: verify_bundle(exported, runtime="abacus")).startswith(
        "there is no runtime abacus\n"
    )


@pytest.mark.parametrize("damage", [False, True])
def test_the_command_line_ends_with_1_where_a_check_fails(
    own_copy: Bundle, capsys: pytest.CaptureFixture[str], damage: bool
) -> None:
    path = own_copy.path("onnx-fp32.onnx")
    if damage:
        flip_last_byte(path)
    status = main.run(["verify", str(own_copy.folder), "--json"])
    out, err = capsys.readouterr()
    report = json.loads(out)
    rows = [row for row in report["variants"] if row["name"] == "onnx-fp32"]
    assert status == (1 if damage else 0)
    assert report["passed"] is rows[0]["passed"] is (not damage)
    assert (f"{path} has changed since it was exported" in err) is damage


def _damaged(arrays: tuple[golden.Arrays, golden.Arrays], bad: float) -> tuple[golden.Arrays, golden.Arrays]:
    inputs, outputs = arrays
    return inputs, {name: np.full_like(array, bad) for name, array in outputs.items()}


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, 1e30])
def test_golden_outputs_that_are_none_never_pass(own_copy: Bundle, bad: float) -> None:
    golden.write(own_copy.folder / golden.FILE, *_damaged(own_copy.golden(), bad))
    assert main.run(["verify", str(sign(own_copy).folder)]) != 0


@pytest.mark.parametrize("data", [b"", b"garbage", None], ids=["empty", "garbage", "missing"])
def test_golden_data_that_cannot_be_read_are_one_sentence(
    own_copy: Bundle, data: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_copy.folder / golden.FILE
    path.write_bytes(data or b"")
    bundle = sign(own_copy)
    if data is None:
        path.unlink()
    assert main.run(["verify", str(bundle.folder)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(
        "error: the golden data " if data is not None else f"error: {bundle.folder} lacks "
    )


def test_labels_that_nothing_vouches_for_are_refused(
    own_copy: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_copy.folder / "labels.txt"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    files = {file: digest for file, digest in own_copy.manifest.files.items() if file != "labels.txt"}
    manifest = dataclasses.replace(own_copy.manifest, files=files)
    (own_copy.folder / "manifest.json").write_bytes(manifest.to_json())
    assert main.run(["verify", str(own_copy.folder)]) == 2
    assert "names labels.txt but has no hash of it" in capsys.readouterr().err


def test_a_crop_that_does_not_fit_the_golden_inputs_is_a_failed_check(own_copy: Bundle) -> None:
    assert own_copy.manifest.preprocess is not None
    preprocess = dataclasses.replace(own_copy.manifest.preprocess, crop=(16, 2))
    manifest = dataclasses.replace(own_copy.manifest, preprocess=preprocess)
    (own_copy.folder / "manifest.json").write_bytes(manifest.to_json())
    assert "makes another input of golden/" in refusal(
        CheckFailed, verify_bundle, Bundle.open(own_copy.folder)
    )


def test_labels_of_another_number_than_classes_do_not_pass(own_copy: Bundle) -> None:
    path = own_copy.folder / "labels.txt"
    path.write_bytes(path.read_bytes() + b"one more\n")
    with pytest.raises(BundleError, match="has not one name for each class"):
        verify_bundle(sign(own_copy))


def test_a_size_that_is_not_the_file_s_is_found(own_copy: Bundle) -> None:
    variants = [*own_copy.manifest.variants]
    true = variants[0].bytes
    variants[0] = dataclasses.replace(variants[0], bytes=true + 1)
    manifest = dataclasses.replace(own_copy.manifest, variants=tuple(variants))
    verdicts = verify_bundle(Bundle(own_copy.folder, manifest))
    [found] = [verdict for verdict in verdicts if verdict.variant.name == variants[0].name]
    assert found.passed is False
    assert f"expected: {true + 1:,} bytes\n  got: {true:,} bytes" in str(found.problem)
