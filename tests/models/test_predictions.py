"""Softmax and top-k, against SciPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pinnace.models.answer import Prediction
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.errors import UsageError
from pinnace.models.predictions import batch_scores, check_top_k, ranked, scores_of, sigmoid, softmax, top_k

LABELS = tuple("abcdefg")

logits = hnp.arrays(
    st.sampled_from([np.float16, np.float32, np.float64]),
    hnp.array_shapes(min_dims=1, max_dims=2, max_side=8),
    elements=st.floats(-60000, 60000, width=16),
)


@given(logits)
def test_softmax_equals_that_of_scipy(values: np.ndarray) -> None:
    expected = scipy.special.softmax(values.astype(np.float64), axis=-1)
    np.testing.assert_allclose(softmax(values), expected, rtol=1e-13, atol=0)


def test_softmax_of_huge_logits_neither_overflows_nor_divides_by_zero() -> None:
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(softmax([1e300, -1e300, 1e300]), [0.5, 0, 0.5])
        np.testing.assert_array_equal(softmax([-1e300, -1e300]), [0.5, 0.5])


def test_softmax_is_float64_whatever_comes_in() -> None:
    assert softmax(np.float16([1, 2])).dtype == np.float64
    assert softmax([1, 2]).dtype == np.float64


@given(hnp.arrays(np.float32, 7, elements=st.sampled_from([-1, 0, 0.5, 2])))
def test_top_k_is_sorted_by_probability_and_then_by_index(values: np.ndarray) -> None:
    order = sorted(range(7), key=lambda index: (-values[index], index))
    probabilities = scipy.special.softmax(values.astype(np.float64))
    found = top_k(values, LABELS, 7)
    assert [(one.index, one.label) for one in found] == [(index, LABELS[index]) for index in order]
    np.testing.assert_allclose([one.probability for one in found], probabilities[order], rtol=1e-13)


def test_top_k_by_hand() -> None:
    assert top_k(np.log([1.0, 4.0, 3.0]), "abc", 2) == [
        Prediction("b", 1, pytest.approx(0.5)),
        Prediction("c", 2, pytest.approx(0.375)),
    ]


def test_top_k_gives_plain_python_numbers() -> None:
    (best,) = top_k(np.float32([0, 1]), "ab", 1)
    assert (type(best.index), type(best.probability)) == (int, float)


@pytest.mark.parametrize(
    ("k", "classes", "answer"), [(None, 1000, 5), (None, 3, 3), (1, 1, 1), (1000, 1000, 1000)]
)
def test_five_classes_are_the_default_or_all_where_there_are_fewer(
    k: int | None, classes: int, answer: int
) -> None:
    assert check_top_k(k, classes) == answer
    assert len(top_k(np.zeros(classes), ["x"] * classes, k)) == answer


@pytest.mark.parametrize("k", [0, -1, 8])
def test_k_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(UsageError) as caught:
        top_k(np.zeros(7), LABELS, k)
    assert str(caught.value) == f"top_k must be between 1 and 7, the number of classes\n  got: {k}"


@given(logits)
def test_sigmoid_equals_that_of_scipy(values: np.ndarray) -> None:
    expected = scipy.special.expit(values.astype(np.float64))
    np.testing.assert_allclose(sigmoid(values), expected, rtol=1e-13, atol=0)


def test_sigmoid_of_huge_logits_does_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(sigmoid([1e300, -1e300, 0]), [1, 0, 0.5])


def test_one_value_is_two_classes() -> None:
    np.testing.assert_allclose(
        scores_of([[2.0], [-2.0]], "sigmoid", 2), [[0.1192, 0.8808], [0.8808, 0.1192]], atol=1e-4
    )
    np.testing.assert_allclose(scores_of([[0.75]], "none", 2), [[0.25, 0.75]])
    np.testing.assert_allclose(scores_of([[0.0]], "sigmoid", 1), [[0.5]])


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 1, 1)])
def test_a_batch_is_flattened(shape: tuple[int, ...]) -> None:
    values = np.arange(6, dtype=np.float32).reshape(shape)
    found = batch_scores(values, Outputs("logits", "y", "softmax", 2))
    np.testing.assert_allclose(found, scipy.special.softmax(values.reshape(3, 2), axis=1), rtol=1e-6)


def test_every_label_that_reaches_the_threshold_is_named() -> None:
    scores = np.array([0.9, 0.2, 0.8, 0.5, 0.7, 0.6, 0.95, 0.1])
    found = ranked(scores, "abcdefgh", None, 0.5)
    assert [(one.label, one.above_threshold) for one in found] == [(label, True) for label in "gacefd"]
    few = ranked(scores, "abcdefgh", None, 0.9)
    assert [(one.label, one.above_threshold) for one in few] == [
        ("g", True),
        ("a", True),
        ("c", False),
        ("e", False),
        ("f", False),
    ]
    assert len(ranked(scores, "abcdefgh", 2, 0.5)) == 2
