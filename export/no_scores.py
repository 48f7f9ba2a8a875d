"""Outputs that look like scores of classes and are not: the highest few, percentages, negative logarithms."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pinnace.export.request import GraphEnd
from pinnace.models.bundle.outputs import sum_to_one
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.errors import UsageError

_RANKING = ("topk", "sort", "argsort")
_BEST = ("argmax", "argmin", "topk")
_MAXIMUM = ("reducemax", "amax", "max")
_SAME_SUM = 1e-3
# A quantised softmax sums to 1 this nearly.
_ABOUT_ONE = 0.1
_KEEP = "--scores tensors keeps the outputs as they are, for `pinnace verify` and `pinnace bench`"


def no_scores(
    values: npt.NDArray[np.generic],
    spec: TensorSpec,
    signature: Signature,
    ends: Mapping[str, GraphEnd],
    inner: str | None = None,
) -> UsageError | None:
    """Why an output cannot be taken for scores of classes or an embedding; None where it may be.

    Softmax would make of each of these numbers that look like an answer, and are wrong.

    Args:
        values: the golden answers, of shape (images, values).
        spec: the output.
        signature: all outputs.
        ends: what computes each of them, where that can be seen.
        inner: the tensor that the output is computed from, where the export could take that.
    """
    array = np.asarray(values, np.float64)
    if _is_ranked(array, spec, signature, ends):
        return UsageError(
            f"the output {spec.name} holds the highest values of an image, and not a value for each class",
            got=", ".join(map(str, signature.outputs)),
            hint=_remedy(inner, "without its top-k or maximum: the best are found afterwards"),
        )
    sums = array.sum(axis=1)
    if array.shape[1] > 1 and bool((array >= 0).all()) and not bool((np.abs(sums - 1) <= _ABOUT_ONE).all()):
        end = ends.get(spec.name)
        softmax = end is not None and end.kind == "softmax"
        varies = bool(np.ptp(array, axis=0).max() > _SAME_SUM * sums[0])  # an untrained network's may not
        if (softmax or varies) and np.ptp(sums) <= _SAME_SUM * sums[0]:
            return UsageError(
                f"the rows of the output {spec.name} all sum to {sums[0]:.4g}: they are probabilities times "
                "that, which are neither logits nor scores within 0 to 1",
                hint=_remedy(inner, "without that factor"),
            )
        if sum_to_one(np.exp(-array)):
            return UsageError(
                f"the output {spec.name} holds negative logarithms of probabilities: the lowest is the best",
                hint=_remedy(inner, "without its last minus"),
            )
    return None


def number_of_a_class(spec: TensorSpec, end: GraphEnd | None, inner: str | None) -> UsageError | None:
    """Why an output cannot be taken for scores: it is the number of the best class. None where it is not.

    Args:
        spec: an output.
        end: what computes it, where that can be seen.
        inner: the tensor that it is computed from, where the export could take that.
    """
    whole = spec.dtype.startswith(("int", "uint")) and bool(spec.shape)
    operator = "" if end is None else end.op.lower()
    if not whole or not (operator in _BEST and all(dim == 1 for dim in spec.shape[1:])):
        return None
    return UsageError(
        f"the output {spec.name} holds the number of the best class of an image, and not a value for each "
        "class",
        got=str(spec),
        hint=_remedy(inner, "without its argmax: the best is found afterwards"),
    )


def _remedy(inner: str | None, words: str) -> str:
    if inner is None:
        return f"write the network {words}; {_KEEP}"
    # Without -o, an --output with a / in it is the bundle's folder.
    folder = "-o NAME.bundle " if "/" in inner else ""
    return f"{folder}--output {shlex.quote(inner)} takes what that is made of; {_KEEP}"


def _is_ranked(
    values: npt.NDArray[np.float64], spec: TensorSpec, signature: Signature, ends: Mapping[str, GraphEnd]
) -> bool:
    end = ends.get(spec.name)
    operator = "" if end is None else end.op.lower()
    if operator in _RANKING or (operator in _MAXIMUM and values.shape[1] == 1):
        return True
    places = any(other.dtype.startswith("int") and other.shape == spec.shape for other in signature.outputs)
    return places and bool((np.diff(values, axis=1) <= 0).all())
