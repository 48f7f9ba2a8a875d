"""Average precision and F1 against scikit-learn; the labels of images in a CSV file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pinnace.export.truth import read_truth
from pinnace.export.validation.label_accuracy import average_precision, measure
from pinnace.models.errors import UsageError
from support.errors import refusal

LABELS = ("cat", "dog", "bird")


@given(
    hnp.arrays(np.float64, 12, elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])),
    hnp.arrays(np.bool_, 12),
)
def test_average_precision_is_that_of_scikit_learn(scores: np.ndarray, true: np.ndarray) -> None:
    true[0] = True
    expected = sklearn.metrics.average_precision_score(true, scores)
    assert average_precision(scores, true) == pytest.approx(expected, abs=1e-12)


def test_f1_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, true = rng.random((50, 3)), rng.random((50, 3)) > 0.6
    true[:, 2] = False
    found = measure(scores, true, LABELS, 0.5)
    expected = sklearn.metrics.f1_score(true, scores >= 0.5, average=None, zero_division=0)
    np.testing.assert_allclose([one.f1 for one in found], expected)
    precision = sklearn.metrics.precision_score(true, scores >= 0.5, average=None, zero_division=0)
    np.testing.assert_allclose([one.precision for one in found], precision)
    recall = sklearn.metrics.recall_score(true, scores >= 0.5, average=None, zero_division=0)
    np.testing.assert_allclose([one.recall for one in found], recall)
    assert (found[2].positives, found[2].average_precision) == (0, None)


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg,cat|bird\nb.jpg,\n",
        "file,labels\na.jpg,cat | bird\nb.jpg,\n",
        "image,bird,cat,dog\na.jpg,1,1,0\nb.jpg,0,0,0\n",
        "filename,bird,cat\na.jpg,1,true\nb.jpg,-1,\n",
    ],
)
def test_every_form_of_the_file_is_read(tmp_path: Path, text: str) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "truth.csv").write_text(text)
    truth = read_truth(tmp_path / "truth.csv", None, LABELS)
    assert truth.files == (tmp_path / "a.jpg", tmp_path / "b.jpg")
    np.testing.assert_array_equal(truth.true, [[True, False, True], [False, False, False]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "truth.csv does not say what is true of images"),
        ("a.jpg\n", "truth.csv does not say what is true of images"),
        ("a.jpg,mouse\n", "line 1 of {} names a label that the model does not have: mouse"),
        ("file,cat,mouse\na.jpg,1,0\n", "line 1 of {} names a label that the model does not have: mouse"),
        ("a.jpg,1,0,1\n", "{} has 4 columns and no heading that names them"),
        ("file,cat,dog\na.jpg,1\n", "line 2 of {} has 2 columns"),
        ("file,cat,dog\na.jpg,1,maybe\n", "line 2 of {} has 'maybe' in the column of a label"),
        ("c.jpg,cat\n", "1 of the 1 images of {} are missing"),
    ],
)
def test_what_is_wrong_with_the_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.jpg").touch()
    path = tmp_path / "truth.csv"
    path.write_text(text)
    assert message.format(path) in refusal(UsageError, read_truth, path, None, LABELS)
