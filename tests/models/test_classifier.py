"""The classifier against its pieces, each run by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import torch
from PIL import Image

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import Manifest
from pinnace.models.classifier import Classifier
from pinnace.models.errors import BundleError, CheckFailed, ImageError, UsageError
from pinnace.models.files import sha256
from pinnace.models.photographs import photographs
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import RuntimeOptions
from support.errors import refusal

CAT = photographs()[0]


def rewrite(bundle: Bundle, **changes: object) -> Bundle:
    document: Manifest = dataclasses.replace(bundle.manifest, **changes)  # type: ignore[arg-type]
    (bundle.folder / "manifest.json").write_bytes(document.to_json())
    return Bundle.open(bundle.folder)


def expected_probabilities(tiny: torch.nn.Module) -> np.ndarray:
    """The cat through Pillow, NumPy, the eager network and SciPy; nothing of pinnace."""
    image = Image.open(CAT).convert("RGB").resize((16, 16), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.float32) / 255
    normalised = (pixels - np.float32([0.5, 0.4, 0.3])) / np.float32([0.2, 0.3, 0.4])
    logits = tiny(torch.from_numpy(normalised.transpose(2, 0, 1).copy()[None])).numpy()[0]
    return np.asarray(scipy.special.softmax(logits.astype(np.float64)))


def test_an_answer_equals_that_of_the_pieces_run_by_hand(exported: Bundle, tiny: torch.nn.Module) -> None:
    probabilities = expected_probabilities(tiny)
    order = np.argsort(-probabilities, kind="stable")
    with Classifier(exported) as classifier:
        answer = classifier.classify(CAT)
    assert answer.model == "tiny"
    assert answer.variant == exported.manifest.variants[0].name
    assert answer.runtime in all_runtimes()
    assert [one.index for one in answer.predictions] == list(order)
    assert [one.label for one in answer.predictions] == [str(index) for index in order]
    np.testing.assert_allclose(
        [one.probability for one in answer.predictions], probabilities[order], rtol=1e-4
    )


def test_every_form_of_an_image_gives_the_same_answer(exported: Bundle) -> None:
    image = Image.open(CAT)
    with Classifier(exported) as classifier:
        answers = {
            classifier.classify(form).predictions
            for form in (CAT, str(CAT), CAT.read_bytes(), image, np.asarray(image))
        }
    assert len(answers) == 1


@pytest.mark.parametrize("k", [1, 3, 5])
def test_top_k_gives_the_first_of_all_answers(exported: Bundle, k: int) -> None:
    with Classifier(exported) as classifier:
        assert classifier.classify(CAT, k).predictions == classifier.classify(CAT).predictions[:k]


@pytest.mark.parametrize("k", [0, 6])
def test_top_k_out_of_range_is_refused_before_the_image_is_read(exported: Bundle, k: int) -> None:
    with Classifier(exported) as classifier, pytest.raises(UsageError) as caught:
        classifier.classify(b"no image", k)
    assert str(caught.value) == f"top_k must be between 1 and 5, the number of classes\n  got: {k}"


def test_what_is_no_image_is_refused(exported: Bundle) -> None:
    with Classifier(exported) as classifier, pytest.raises(ImageError):
        classifier.classify(b"no image")


def test_timing_adds_up(exported: Bundle) -> None:
    with Classifier(exported) as classifier:
        classifier.warm_up()
        timing = classifier.classify(CAT).timing_ms
    parts = (timing.decode, timing.preprocess, timing.infer)
    assert all(part > 0 for part in parts)
    assert timing.queue == 0
    assert sum(parts) <= timing.total < 60_000


def test_a_batch_is_answered_row_by_row(exported: Bundle) -> None:
    inputs = np.random.default_rng(0).normal(size=(4, 3, 16, 16)).astype(np.float32)
    with Classifier(exported) as classifier:
        together = classifier.infer(inputs)
        alone = np.concatenate([classifier.infer(one[None]) for one in inputs])
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_every_variant_gives_the_same_classes(exported: Bundle) -> None:
    orders = set()
    for variant in exported.manifest.variants:
        with Classifier(exported, variant.name, options=RuntimeOptions(threads=1)) as classifier:
            answer = classifier.classify(CAT)
        assert answer.variant == variant.name
        orders.add(tuple(one.index for one in answer.predictions))
    assert len(orders) == 1


def test_a_model_without_labels_cannot_classify(own_copy: Bundle) -> None:
    bundle = rewrite(own_copy, labels=None)
    assert refusal(UsageError, Classifier, bundle) == (
        "tiny has no labels, so it cannot classify\n  help: export it again"
    )


def test_a_model_that_takes_no_image_cannot_classify(own_copy: Bundle) -> None:
    bundle = rewrite(own_copy, preprocess=None)
    assert refusal(UsageError, Classifier, bundle).startswith(
        "tiny takes no image but input=float32[batch,3,16,16], so it cannot classify images\n"
    )


def test_a_variant_that_has_changed_is_not_loaded(own_copy: Bundle) -> None:
    variant = own_copy.manifest.variants[0]
    path = own_copy.path(variant.file)
    path.write_bytes(path.read_bytes() + b"\0")
    assert refusal(CheckFailed, Classifier, own_copy).startswith(
        f"{path} has changed since it was exported\n"
    )


def test_labels_of_another_model_are_found_at_the_first_answer(own_copy: Bundle) -> None:
    labels = own_copy.folder / "labels.txt"
    labels.write_text("cat\ndog\n")
    manifest = dataclasses.replace(
        own_copy.manifest,
        files=own_copy.manifest.files | {"labels.txt": sha256(labels)},
        outputs=dataclasses.replace(own_copy.outputs, classes=2),
    )
    (own_copy.folder / "manifest.json").write_bytes(manifest.to_json())
    with Classifier(Bundle.open(own_copy.folder)) as classifier, pytest.raises(BundleError) as caught:
        classifier.classify(CAT)
    assert str(caught.value) == (
        "tiny does not answer with one value per label\n  expected: (1, 2)\n  got: (1, 5)"
    )


def test_an_unknown_variant_and_an_unknown_runtime(exported: Bundle) -> None:
    known = ", ".join(variant.name for variant in exported.manifest.variants)
    assert refusal(UsageError, Classifier, exported, "onnx-fp64") == (
        f"{exported.folder} has no variant onnx-fp64\n  expected: one of {known}\n  got: onnx-fp64"
    )
    with pytest.raises(UsageError) as caught:
        Classifier(exported, runtime="abacus")
    assert str(caught.value) == (
        f"there is no runtime abacus\n  expected: one of {', '.join(all_runtimes())}\n  got: abacus"
    )


def test_a_folder_may_be_given_where_a_bundle_stands(exported: Bundle, tmp_path: Path) -> None:
    (tmp_path / "link.bundle").symlink_to(exported.folder)
    with Classifier(Bundle.open(tmp_path / "link.bundle")) as classifier:
        assert classifier.classify(CAT, 1).model == "tiny"
