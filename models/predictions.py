"""From a model's output to named scores: softmax, sigmoid, thresholds and top-k, once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pinnace.models.answer import Prediction
from pinnace.models.bundle.outputs import Function, Outputs, rows
from pinnace.models.errors import UsageError

DEFAULT_TOP_K = 5


def softmax(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Softmax over the last axis in float64.

    The maximum is subtracted first, so large logits do not overflow.
    """
    values = np.asarray(logits, dtype=np.float64)
    exponentials = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def sigmoid(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """1 / (1 + exp(-x)) of every element in float64; large logits do not overflow."""
    values = np.asarray(logits, dtype=np.float64)
    small = np.exp(-np.abs(values))
    return np.asarray(np.where(values >= 0, 1.0, small) / (1.0 + small))


def scores_of(
    values: npt.ArrayLike, function: Function = "softmax", classes: int | None = None
) -> npt.NDArray[np.float64]:
    """Scores, one for each class.

    Args:
        values: a model's output, shape (..., values), any float dtype.
        function: what makes scores of it.
        classes: how many labels there are. Where it is 2 and there is one value, that value is the logit or
            the probability p of the second, and the scores are 1 - p and p.

    Returns:
        float64, shape (..., classes).
    """
    array = np.asarray(values, dtype=np.float64)
    if classes == 2 and array.shape[-1] == 1:
        second = sigmoid(array) if function == "sigmoid" else array
        first = sigmoid(-array) if function == "sigmoid" else 1 - array
        return np.concatenate([first, second], axis=-1)
    if function == "softmax":
        return softmax(array)
    return sigmoid(array) if function == "sigmoid" else array


def batch_scores(values: npt.NDArray[np.generic], outputs: Outputs) -> npt.NDArray[np.float64]:
    """The scores of a batch.

    Args:
        values: the output that `outputs` names, shape (images, values), or (images,), or (images, values, 1,
            1).
        outputs: what it means.

    Returns:
        float64, shape (images, classes).
    """
    return scores_of(rows(values), outputs.function, outputs.classes)


def check_top_k(k: int | None, classes: int) -> int:
    """How many classes to answer with; None means 5, or all where there are fewer.

    Raises:
        UsageError: k is not between 1 and the number of classes.
    """
    if k is None:
        return min(DEFAULT_TOP_K, classes)
    if not 1 <= k <= classes:
        raise UsageError(f"top_k must be between 1 and {classes}, the number of classes", got=str(k))
    return k


def ranked(
    scores: npt.NDArray[np.float64],
    labels: Sequence[str],
    k: int | None = None,
    threshold: float | None = None,
) -> list[Prediction]:
    """The labels of one image with the highest scores, highest first; ties in index order.

    Args:
        scores: shape (classes,).
        labels: one name per class.
        k: how many to return; see `check_top_k`. Where it is None and there is a threshold, every label that
            reaches the threshold is returned, if need be more than 5.
        threshold: from which score on a label counts as true, where several may be.

    Raises:
        UsageError: k is out of range.
    """
    count = check_top_k(k, len(labels))
    if threshold is not None and k is None:
        count = max(count, int((scores >= threshold).sum()))
    order = np.argsort(-scores, kind="stable")[:count]
    return [
        Prediction(
            labels[i],
            int(i),
            float(scores[i]),
            None if threshold is None else bool(scores[i] >= threshold),
        )
        for i in order
    ]


def top_k(
    values: npt.ArrayLike, labels: Sequence[str], k: int | None = None, function: Function = "softmax"
) -> list[Prediction]:
    """The k classes of one image with the highest scores, highest first; ties in index order.

    Args:
        values: one image's row of the model's output, shape (values,), any float dtype.
        labels: one name per class.
        k: how many to return; see `check_top_k`.
        function: what makes scores of the values; see `scores_of`.

    Raises:
        UsageError: k is out of range.
    """
    return ranked(scores_of(values, function, len(labels)), labels, k)
