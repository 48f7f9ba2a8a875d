"""From logits to named classes: softmax and top-k, once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pinnace.models.answer import Prediction
from pinnace.models.errors import UsageError

DEFAULT_TOP_K = 5


def softmax(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Softmax over the last axis in float64.

    The maximum is subtracted first, so large logits do not overflow.
    """
    values = np.asarray(logits, dtype=np.float64)
    exponentials = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


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


def top_k(logits: npt.ArrayLike, labels: Sequence[str], k: int | None = None) -> list[Prediction]:
    """The k most probable classes of one image, most probable first; ties in index order.

    Args:
        logits: shape (classes,), any float dtype.
        labels: one name per class.
        k: how many to return; see `check_top_k`.

    Raises:
        UsageError: k is out of range.
    """
    k = check_top_k(k, len(labels))
    probabilities = softmax(logits)
    order = np.argsort(-probabilities, kind="stable")[:k]
    return [Prediction(labels[i], int(i), float(probabilities[i])) for i in order]
