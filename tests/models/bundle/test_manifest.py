"""Signature and manifest: data that survives the way to disk, and sentences for what did not."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pinnace.models.bundle import manifest
from pinnace.models.bundle.manifest import EngineInfo, Golden, Manifest, Photograph, Variant
from pinnace.models.bundle.measurements import Parity, Tolerance
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.errors import BundleError
from pinnace.models.image.preprocess import Preprocess
from support.errors import refusal

SPEC = TensorSpec("input", "float32", ("batch", 3, 16, 16))
FULL = Manifest(
    schema_version=2,
    name="tiny",
    source="file:ünï.pt",
    preprocess=Preprocess(20, "bicubic", (16, 16), "RGB", (0.5, 0.4, 1 / 3), (0.2, 0.3, 0.1), exif=False),
    labels="labels.txt",
    signature=Signature((SPEC,), (TensorSpec("logits", "float32", ("batch", 5)),)),
    variants=(
        Variant(
            "onnx-fp32",
            "onnx",
            "fp32",
            "onnx-fp32.onnx",
            "0" * 64,
            1810,
            Parity(1.1920928955078125e-07, 7.76474560131044e-08, 1.0, 1.0, 10, "onnxruntime"),
            Tolerance(max_rel=1e-3, min_cosine=0.99, min_top1_agreement=0.95),
        ),
    ),
    golden=Golden("golden/golden.npz", 10, (Photograph("golden/cat.jpg", 0),)),
    files={"labels.txt": "1" * 64},
    tools={"torch": "2.14.0"},
    created="2026-01-01T00:00:00+00:00",
    notes=("a note",),
    outputs=Outputs("logits", "logits", "softmax", 5),
)
ENGINE = EngineInfo("onnx-fp32", "tensorrt", "10.3.0", "Linux aarch64", (1, 16), "Orin", "8.7", "540.4.0")


def write(folder: Path, data: dict[str, Any] | bytes) -> Path:
    content = data if isinstance(data, bytes) else json.dumps(data).encode()
    (folder / "manifest.json").write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "document",
    [
        FULL,
        dataclasses.replace(FULL, preprocess=None, labels=None, notes=(), golden=Golden("g.npz", 1)),
        dataclasses.replace(FULL, schema_version=1, outputs=None),
        dataclasses.replace(
            FULL, preprocess=Preprocess((20, 24), "nearest", None, "L", (0.0,), (1.0,)), variants=()
        ),
        dataclasses.replace(FULL, variants=(dataclasses.replace(FULL.variants[0], tolerance=Tolerance()),)),
        dataclasses.replace(
            FULL, variants=(dataclasses.replace(FULL.variants[0], parity=None, engine=ENGINE),)
        ),
    ],
    ids=["full", "no image", "older", "grey", "no tolerance", "an engine that was never run"],
)
def test_a_manifest_is_read_as_it_was_written(tmp_path: Path, document: Manifest) -> None:
    assert manifest.read(write(tmp_path, document.to_json())) == document


@given(st.floats(allow_nan=False, allow_infinity=False), st.text(st.characters(exclude_categories=["Cs"])))
def test_numbers_and_names_come_back_to_the_bit(tmp_path_factory: Any, number: float, name: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    parity = Parity(number, number, number, number, 1, name)
    variant = dataclasses.replace(FULL.variants[0], parity=parity)
    document = dataclasses.replace(FULL, name=name, variants=(variant,))
    assert manifest.read(write(folder, document.to_json())) == document


def test_the_file_is_for_people_too() -> None:
    text = FULL.to_json().decode()
    assert text.startswith('{\n  "schema_version": 2,\n  "name": "tiny",\n  "source": "file:ünï.pt",')
    assert text.endswith("}\n")


def test_unknown_keys_of_a_later_writer_are_ignored(tmp_path: Path) -> None:
    data = json.loads(FULL.to_json()) | {"colour_of_the_hull": "white"}
    assert manifest.read(write(tmp_path, data)) == FULL


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_a_folder_without_a_manifest(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    path = tmp_path / folder
    assert refusal(BundleError, manifest.read, path) == (
        f"{path} is not a bundle: it has no manifest.json\n"
        f"  help: make one with: pinnace export SOURCE -o {path}"
    )


def test_a_file_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    assert refusal(BundleError, manifest.read, tmp_path / "model.onnx") == (
        f"{tmp_path}/model.onnx is a file, and a bundle is a folder\n"
        "  help: make one of a model with: pinnace export SOURCE -o NAME.bundle"
    )


def test_a_misspelt_folder_is_proposed(tmp_path: Path) -> None:
    (tmp_path / "digits.bundle").mkdir()
    assert refusal(BundleError, manifest.read, tmp_path / "digit.bundle").endswith(
        f"\n  help: did you mean {tmp_path}/digits.bundle?"
    )


@pytest.mark.parametrize(("version", "got"), [(3, "3"), (0, "0"), ("1", "1"), (None, "None")])
def test_another_schema_version(tmp_path: Path, version: object, got: str) -> None:
    write(tmp_path, json.loads(FULL.to_json()) | {"schema_version": version})
    assert refusal(BundleError, manifest.read, tmp_path) == (
        f"{tmp_path}/manifest.json has a schema version that this pinnace cannot read\n"
        f"  expected: 1 or 2\n  got: {got}\n"
        "  help: export the model again, or use the pinnace that wrote the bundle"
    )


def test_another_schema_version_is_named_before_what_it_changed(tmp_path: Path) -> None:
    write(tmp_path, {"schema_version": 3, "name": ["quite", "other"]})
    assert "schema version" in refusal(BundleError, manifest.read, tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file: Invalid JSON: EOF while parsing a value at line 1 column 0"),
        (FULL.to_json()[:100], "the file: Invalid JSON: EOF while parsing"),
        (b"\xff\xfe", "the file: Invalid JSON: "),
        (b"[1, 2]", "the file: Input should be an object"),
        (b'{"schema_version": 1}', "name: Field required"),
        (
            json.dumps(json.loads(FULL.to_json()) | {"variants": [{}]}).encode(),
            "variants.0.name: Field required",
        ),
    ],
    ids=["empty", "cut short", "no text", "no object", "fields missing", "a field deep inside"],
)
def test_a_damaged_manifest_names_the_place(tmp_path: Path, content: bytes, reason: str) -> None:
    message = refusal(BundleError, manifest.read, write(tmp_path, content))
    assert message.startswith(f"{tmp_path}/manifest.json is damaged: {reason}")
    assert message.endswith("\n  help: export the model again")
    assert len(message.splitlines()) == 2


def test_a_preprocessing_that_makes_no_sense_is_damage_too(tmp_path: Path) -> None:
    data = json.loads(FULL.to_json())
    data["preprocess"]["mean"] = [0.5]
    assert refusal(BundleError, manifest.read, write(tmp_path, data)) == (
        f"{tmp_path}/manifest.json is damaged: mean does not fit the channels\n"
        "  expected: a tuple of 3 finite numbers, one for each channel of RGB\n"
        "  got: (0.5,)\n"
        "  help: export the model again"
    )


def test_a_tensor_prints_as_people_write_it() -> None:
    assert str(SPEC) == "input=float32[batch,3,16,16]"
    assert str(TensorSpec("one", "int64", ())) == "one=int64[]"


def test_a_shape_with_its_batch_filled_in() -> None:
    assert SPEC.with_batch(7) == (7, 3, 16, 16)
    assert TensorSpec("text", "int64", ("batch", "tokens", 4)).with_batch(7) == (7, 1, 4)


def test_a_signature_gives_its_names_in_order() -> None:
    signature = Signature((SPEC, TensorSpec("a", "float32", ())), (TensorSpec("z", "float32", ()), SPEC))
    assert signature.input_names == ("input", "a")
    assert signature.output_names == ("z", "input")


Path_ = tuple[str | int, ...]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1", "nan", "float32"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
ORIGINAL = json.loads(
    dataclasses.replace(
        FULL, variants=(FULL.variants[0], dataclasses.replace(FULL.variants[0], name="b", engine=ENGINE))
    ).to_json()
)
SCHEMA = Draft202012Validator(manifest.json_schema())


def places(value: Any, above: Path_ = ()) -> Iterator[Path_]:
    """The way to every value in a JSON document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inside:
        yield (*above, key)
        yield from places(below, (*above, key))


def changed(place: Path_, value: object, *, remove: bool) -> dict[str, Any]:
    """The manifest with one value replaced or removed."""
    document = json.loads(json.dumps(ORIGINAL))
    parent = functools.reduce(lambda inner, key: inner[key], place[:-1], document)
    if remove:
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    return document  # type: ignore[no-any-return]


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(sorted(places(ORIGINAL), key=str)), JSON, st.integers(0, 9))
def test_a_manifest_is_valid_by_its_schema_or_refused(place: Path_, value: object, die: int) -> None:
    document = changed(place, value, remove=die == 0)
    path = Path("manifest.json")
    try:
        read = manifest.parse(json.dumps(document).encode(), path)
    except BundleError as error:
        event(f"refused: {error.message[:60]}")
        return
    SCHEMA.validate(document)
    assert manifest.parse(read.to_json(), path) == read


def test_a_good_manifest_is_valid_by_the_schema() -> None:
    SCHEMA.validate(ORIGINAL)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("golden", "photographs", 0, "sample"), 10),
        (("golden", "samples"), 0),
        (("variants", 1, "name"), "onnx-fp32"),
        (("variants", 0, "tolerance", "max_rel"), 1e308),
        (("variants", 0, "tolerance", "min_cosine"), -2),
        (("variants", 0, "tolerance", "max_rel"), float("nan")),
        (("variants", 0, "parity", "max_abs"), float("inf")),
        (("variants", 0, "bytes"), "1810"),
        (("signature", "inputs"), []),
        (("outputs", "name"), "a"),
        (("signature", "inputs", 0, "dtype"), "object"),
        (("signature", "inputs", 0, "shape"), ["batch", 0]),
        (("preprocess", "crop"), [16, 10**30]),
        (("batch",), [3, 2]),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_is_refused(place: Path_, value: object) -> None:
    content = json.dumps(changed(place, value, remove=False)).encode()
    message = refusal(BundleError, manifest.parse, content, Path("manifest.json"))
    assert message.startswith("manifest.json is damaged: ")
