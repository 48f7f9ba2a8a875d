"""A bundle on disk: what it is made of, and what is refused."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from pinnace.models.bundle import golden
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import Manifest
from pinnace.models.errors import BundleError, CheckFailed, PinnaceError, UsageError
from pinnace.models.files import sha256


def rewrite(bundle: Bundle, **changes: object) -> Path:
    """The bundle's folder, with a manifest that says something else."""
    document: Manifest = dataclasses.replace(bundle.manifest, **changes)  # type: ignore[arg-type]
    (bundle.folder / "manifest.json").write_bytes(document.to_json())
    return bundle.folder


def message(error: pytest.ExceptionInfo[PinnaceError]) -> str:
    return str(error.value)


def test_an_exported_bundle_opens_and_is_what_its_manifest_says(exported: Bundle) -> None:
    bundle = Bundle.open(str(exported.folder))
    assert bundle == exported
    assert bundle.name == "tiny"
    assert bundle.labels == ("0", "1", "2", "3", "4")
    assert bundle.preprocess.crop == (16, 16)
    bundle.check_files()


def test_opening_reads_the_manifest_only(own_copy: Bundle) -> None:
    for path in own_copy.folder.rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            path.unlink()
    assert Bundle.open(own_copy.folder).manifest == own_copy.manifest


@pytest.mark.parametrize("file", ["../secret", "/etc/passwd", "golden/../../secret"])
@pytest.mark.parametrize("role", ["variant", "golden", "photograph", "labels", "other"])
def test_a_file_outside_the_folder_is_refused(own_copy: Bundle, role: str, file: str) -> None:
    old = own_copy.manifest
    changes: dict[str, dict[str, object]] = {
        "variant": {"variants": (dataclasses.replace(old.variants[0], file=file),)},
        "golden": {"golden": dataclasses.replace(old.golden, file=file)},
        "photograph": {
            "golden": dataclasses.replace(
                old.golden, photographs=(dataclasses.replace(old.golden.photographs[0], file=file),)
            )
        },
        "labels": {"labels": file},
        "other": {"files": {file: "0" * 64}},
    }
    folder = rewrite(own_copy, **changes[role])
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder)
    assert message(caught) == f"{folder} names a file outside its folder: {file}"


def test_one_changed_byte_is_found_in_every_file(own_copy: Bundle) -> None:
    hashes = {
        variant.file: variant.sha256 for variant in own_copy.manifest.variants
    } | own_copy.manifest.files
    on_disk = {p.relative_to(own_copy.folder).as_posix() for p in own_copy.folder.rglob("*") if p.is_file()}
    assert set(hashes) == on_disk - {"manifest.json"}
    for file, digest in hashes.items():
        path = own_copy.folder / file
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(CheckFailed) as caught:
            own_copy.check_files()
        assert message(caught) == (
            f"{path} has changed since it was exported\n"
            f"  expected: sha256 {digest}\n"
            f"  got: sha256 {sha256(path)}\n"
            "  help: export the model again, or copy the bundle again"
        )
        path.write_bytes(data)
    own_copy.check_files()


@pytest.mark.parametrize("file", ["labels.txt", "golden/golden.npz"])
def test_a_missing_file_is_named(own_copy: Bundle, file: str) -> None:
    (own_copy.folder / file).unlink()
    with pytest.raises(BundleError) as caught:
        _ = own_copy.labels if file == "labels.txt" else own_copy.golden()
    assert message(caught) == f"{own_copy.folder} lacks {file}\n  help: export the model again"
    with pytest.raises(BundleError) as caught:
        own_copy.check_files()
    assert message(caught) == f"{own_copy.folder} lacks {file}\n  help: export the model again"


def relabel(bundle: Bundle, data: bytes) -> Bundle:
    """The bundle with other labels, whose hash is in its manifest."""
    (bundle.folder / "labels.txt").write_bytes(data)
    files = bundle.manifest.files | {"labels.txt": sha256(bundle.folder / "labels.txt")}
    return Bundle.open(rewrite(bundle, files=files))


def test_labels_are_one_a_line(own_copy: Bundle) -> None:
    bundle = relabel(own_copy, "chat\nchien, loup\n\némeu\nloir\n".encode())
    assert bundle.labels == ("chat", "chien, loup", "", "émeu", "loir")


@pytest.mark.parametrize("mark", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_nothing_but_a_line_feed_ends_a_label(own_copy: Bundle, mark: str) -> None:
    bundle = relabel(own_copy, f"a{mark}b\nc{mark}\n{mark}d\ne\nf\n".encode())
    assert bundle.labels == (f"a{mark}b", f"c{mark}", f"{mark}d", "e", "f")


def test_labels_that_are_no_text(own_copy: Bundle) -> None:
    bundle = relabel(own_copy, b"\xff\xfe\x00")
    with pytest.raises(BundleError) as caught:
        _ = bundle.labels
    assert (
        message(caught) == f"{own_copy.folder}/labels.txt is not UTF-8 text\n  help: export the model again"
    )


def test_labels_of_another_number(own_copy: Bundle) -> None:
    bundle = relabel(own_copy, b"a\nb\n")
    with pytest.raises(BundleError) as caught:
        _ = bundle.labels
    assert message(caught) == (
        f"{own_copy.folder}/labels.txt has not one name for each class\n"
        "  expected: 5 lines\n  got: 2\n  help: export the model again"
    )


@pytest.mark.parametrize("file", ["labels.txt", "golden/golden.npz"])
def test_a_file_that_was_changed_is_not_read(own_copy: Bundle, file: str) -> None:
    path = own_copy.folder / file
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(CheckFailed) as caught:
        _ = own_copy.labels if file == "labels.txt" else own_copy.golden()
    assert message(caught).startswith(f"{path} has changed since it was exported\n")


@pytest.mark.parametrize("role", ["golden", "photograph", "labels"])
def test_a_file_without_a_hash_is_refused(own_copy: Bundle, role: str) -> None:
    old = own_copy.manifest
    file = {"golden": old.golden.file, "photograph": old.golden.photographs[1].file, "labels": old.labels}[
        role
    ]
    assert file is not None
    folder = rewrite(own_copy, files={name: digest for name, digest in old.files.items() if name != file})
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder)
    assert message(caught) == (
        f"{folder} names {file} but has no hash of it: its manifest was changed\n"
        "  help: export the model again, or copy the bundle again"
    )


def test_a_file_with_two_hashes_is_refused(own_copy: Bundle) -> None:
    file = own_copy.manifest.variants[0].file
    folder = rewrite(own_copy, files=own_copy.manifest.files | {file: "0" * 64})
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder)
    assert message(caught).startswith(f"{folder} has two hashes of {file}: its manifest was changed\n")


def test_a_bundle_may_have_no_labels_and_no_preprocessing(own_copy: Bundle) -> None:
    bundle = Bundle.open(rewrite(own_copy, labels=None, preprocess=None))
    assert bundle.labels == ()
    with pytest.raises(UsageError) as caught:
        _ = bundle.preprocess
    assert message(caught) == "tiny takes no image, so it cannot classify one"


def test_a_bundle_without_variants_is_refused(own_copy: Bundle) -> None:
    folder = rewrite(own_copy, variants=())
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder)
    assert message(caught) == f"{folder} has no variants\n  help: export the model again"


def test_a_variant_is_found_by_name_and_the_first_is_the_default(exported: Bundle) -> None:
    variants = exported.manifest.variants
    assert exported.variant() is variants[0]
    assert [exported.variant(variant.name) for variant in variants] == list(variants)


def test_an_unknown_variant(exported: Bundle) -> None:
    with pytest.raises(UsageError) as caught:
        exported.variant("onnx-int1")
    known = ", ".join(variant.name for variant in exported.manifest.variants)
    assert message(caught) == (
        f"{exported.folder} has no variant onnx-int1\n  expected: one of {known}\n  got: onnx-int1"
    )


def test_golden_data_come_back_as_they_were_written(tmp_path: Path) -> None:
    inputs = {"a:b": np.arange(6, dtype=np.float32).reshape(2, 3), "ids": np.array([1, 2])}
    outputs = {"a:b": np.float64([0.1, 0.2])}
    golden.write(tmp_path / "golden" / "one.npz", inputs, outputs)
    for have, want in zip(golden.read(tmp_path / "golden" / "one.npz"), (inputs, outputs), strict=True):
        assert list(have) == list(want)
        for name in want:
            np.testing.assert_array_equal(have[name], want[name], strict=True)
    golden.write(tmp_path / "again.npz", inputs, outputs)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "golden" / "one.npz").read_bytes()


def test_golden_data_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", **{"input:x": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(BundleError, match="allow_pickle=False"):
        golden.read(tmp_path / "evil.npz")


def test_golden_data_of_another_shape_are_not_unpacked(
    own_copy: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few megabytes may unpack to gigabytes, and the manifest's hash does not tell who wrote them."""
    file = own_copy.folder / own_copy.manifest.golden.file
    with np.load(file) as arrays:
        np.savez(file, **{key: np.tile(array, (1, 2, 1, 1)[: array.ndim]) for key, array in arrays.items()})
    files = {**own_copy.manifest.files, own_copy.manifest.golden.file: sha256(file)}
    changed = Bundle.open(rewrite(own_copy, files=files))
    monkeypatch.setattr(golden, "parse", lambda *_: pytest.fail("they were unpacked"))
    with pytest.raises(BundleError, match="has another dtype or shape"):
        changed.golden()


@pytest.mark.parametrize("key", ["input:more", "output:more", "more", "../../x"])
def test_golden_data_that_the_model_knows_nothing_of_are_refused(own_copy: Bundle, key: str) -> None:
    file = own_copy.folder / own_copy.manifest.golden.file
    with np.load(file) as arrays:
        np.savez(file, **{**arrays, key: np.zeros(1, np.float32)})
    files = {**own_copy.manifest.files, own_copy.manifest.golden.file: sha256(file)}
    changed = Bundle.open(rewrite(own_copy, files=files))
    with pytest.raises(BundleError, match=r"the model has no \w+ more|neither an input nor an output"):
        changed.golden()


@pytest.mark.parametrize("file", ["manifest.json", "labels.txt"])
def test_neither_a_pipe_nor_a_device_nor_40_gigabytes_are_read(own_copy: Bundle, file: str) -> None:
    path = own_copy.folder / file
    for make in (lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/zero"), lambda: sparse(path)):
        path.unlink()
        make()
        with pytest.raises(BundleError, match=f"{file}"):
            _ = Bundle.open(own_copy.folder).labels


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(40 << 30)


@pytest.mark.parametrize("file", ["labels.txt", "onnx-fp32.onnx"])
def test_a_file_that_is_far_too_large_is_not_read(
    own_copy: Bundle, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.truncate(own_copy.folder / file, 40 << 30)  # sparse: it takes no space
    monkeypatch.setattr("pinnace.models.bundle.bundle.sha256", lambda path: pytest.fail("it was read"))
    with pytest.raises(CheckFailed, match="has changed since it was exported") as caught:
        own_copy.check_file(file)
    assert f"got: {40 << 30:,} bytes" in message(caught)


def with_weights_elsewhere(bundle: Bundle, location: str, *, listed: bool) -> Bundle:
    """The bundle with the weights of its ONNX file in another file, which the manifest knows or does not."""
    path = bundle.folder / "onnx-fp32.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.data", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    files = ["onnx-fp32.onnx", *(["w.data"] if listed else [])]
    (variant, *others) = bundle.manifest.variants
    variant = dataclasses.replace(
        variant,
        sha256=sha256(path),
        bytes=sum((bundle.folder / file).stat().st_size for file in files),
        weights="w.data" if listed else None,
    )
    hashes = bundle.manifest.files | ({"w.data": sha256(bundle.folder / "w.data")} if listed else {})
    return Bundle.open(rewrite(bundle, variants=(variant, *others), files=hashes))


def test_weights_in_a_file_without_a_hash_are_refused(own_copy: Bundle) -> None:
    bundle = with_weights_elsewhere(own_copy, "w.data", listed=False)
    with pytest.raises(BundleError) as caught:
        bundle.check_variant(bundle.variant("onnx-fp32"))
    assert message(caught) == (
        f"{bundle.folder}/onnx-fp32.onnx takes weights from a file of which the manifest has no hash\n"
        "  expected: all weights in it\n"
        "  got: 'w.data'\n"
        "  help: export the model again"
    )


@pytest.mark.parametrize("location", ["../w.data", "w.data\0x", "manifest.json", "", "x" * 5000])
def test_weights_in_another_file_than_the_listed_one_are_refused(own_copy: Bundle, location: str) -> None:
    bundle = with_weights_elsewhere(own_copy, location, listed=True)
    with pytest.raises(BundleError, match="takes weights from a file of which the manifest has no hash"):
        bundle.check_variant(bundle.variant("onnx-fp32"))


def test_weights_in_the_listed_file_are_good(own_copy: Bundle) -> None:
    bundle = with_weights_elsewhere(own_copy, "w.data", listed=True)
    bundle.check_variant(bundle.variant("onnx-fp32"))
