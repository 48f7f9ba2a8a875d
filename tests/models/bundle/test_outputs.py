"""What an answer means, as data: what is refused, what it says of itself, and what an older bundle means."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special

from pinnace.models.bundle import golden
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.outputs import Outputs, sum_to_one, unit_norm, width
from pinnace.models.bundle.signature import TensorSpec
from pinnace.models.errors import BundleError, UsageError
from pinnace.models.files import sha256
from support.errors import refusal
from support.tiny_bundle import build_bundle


@pytest.mark.parametrize(
    "arguments",
    [
        {"meaning": "logits", "function": "softmax", "classes": 3},  # of no output
        {"meaning": "tensors", "name": "y"},
        {"meaning": "logits", "name": "y"},  # of how many classes?
        {"meaning": "embedding", "name": "y", "classes": 3},
        {"meaning": "probabilities", "name": "y", "classes": 0},
        {"meaning": "sigmoid", "name": "y", "classes": 3},  # without a threshold
        {"meaning": "logits", "name": "y", "classes": 3, "threshold": 0.5},
        {"meaning": "sigmoid", "name": "y", "classes": 3, "threshold": 1.5},
    ],
)
def test_what_contradicts_itself_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Outputs(**arguments)


def test_a_manifest_that_contradicts_itself_is_damaged(tmp_path: Path) -> None:
    bundle = build_bundle(tmp_path / "tiny.bundle")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest |= {"schema_version": 2, "outputs": {"meaning": "sigmoid", "name": "logits", "classes": 5}}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert refusal(BundleError, Bundle.open, bundle).startswith(f"{bundle}/manifest.json is damaged: outputs")


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (Outputs("logits", "y", "softmax", 3), "y: probabilities of one class, by softmax (assumed)"),
        (
            Outputs("sigmoid", "y", "none", 3, None, 0.3, "graph"),
            "y: scores of several labels, true from 0.3 on, as they are (seen at the end of the graph)",
        ),
        (
            Outputs("embedding", "y", normalised=True, evidence="option"),
            "y: an embedding, normalised (as the export was told)",
        ),
        (Outputs("tensors"), "tensors"),
    ],
)
def test_it_is_told_in_words(outputs: Outputs, words: str) -> None:
    assert str(outputs) == words


def test_a_threshold_is_for_several_labels_only() -> None:
    several = Outputs("sigmoid", "y", "none", 3, threshold=0.5)
    assert several.with_threshold(0.2) == dataclasses.replace(several, threshold=0.2)
    assert several.with_threshold(None) is several
    one = Outputs("logits", "y", "softmax", 3)
    assert refusal(UsageError, one.with_threshold, 0.2).startswith("a threshold applies to models of which")
    assert refusal(UsageError, several.with_threshold, -1) == (
        "a threshold must be between 0 and 1\n  got: -1"
    )


@pytest.mark.parametrize(
    ("dtype", "shape", "values"),
    [
        ("float32", ("batch", 7), 7),
        ("float16", (1, 7), 7),
        ("float32", ("batch", 7, 1, 1), 7),
        ("float32", ("batch", 1), 1),
        ("float32", ("batch",), 1),
        ("float32", ("batch", 7, 2), None),
        ("float32", ("batch", 1, 7), None),
        ("float32", ("batch", "length"), None),
        ("int64", ("batch", 7), None),
        ("float32", (), None),
    ],
)
def test_what_is_one_row_for_each_image(dtype: str, shape: tuple[int | str, ...], values: int | None) -> None:
    assert width(TensorSpec("y", dtype, shape)) == values


def test_rounding_is_no_difference() -> None:
    rows = scipy.special.softmax(np.random.default_rng(0).normal(size=(9, 1000)), axis=1)
    assert sum_to_one(rows.astype(np.float16))
    assert sum_to_one(rows.astype(np.float32))
    assert not sum_to_one((1.01 * rows).astype(np.float32))
    vectors = np.float32(np.random.default_rng(0).normal(size=(9, 500)))
    assert not unit_norm(vectors)
    assert unit_norm((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16))


def test_an_older_bundle_means_logits_unless_its_golden_answers_are_probabilities(tmp_path: Path) -> None:
    bundle = build_bundle(tmp_path / "tiny.bundle")
    opened = Bundle.open(bundle)
    assert (opened.manifest.schema_version, opened.manifest.outputs) == (1, None)
    assert opened.outputs == Outputs("logits", "logits", "softmax", 5)
    other = shutil.copytree(bundle, tmp_path / "soft.bundle")
    inputs, outputs = opened.golden()
    soft = scipy.special.softmax(np.asarray(outputs["logits"], np.float32), axis=1)
    golden.write(other / golden.FILE, inputs, {"logits": soft})
    files = {**opened.manifest.files, golden.FILE: sha256(other / golden.FILE)}
    (other / "manifest.json").write_bytes(dataclasses.replace(opened.manifest, files=files).to_json())
    assert Bundle.open(other).outputs == Outputs("probabilities", "logits", "none", 5, evidence="answers")
