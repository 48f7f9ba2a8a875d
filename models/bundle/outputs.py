"""What a model's answer means: which output is meant, and how its values become scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.errors import UsageError

Meaning: TypeAlias = Literal["logits", "probabilities", "sigmoid", "embedding", "tensors"]
Function: TypeAlias = Literal["softmax", "sigmoid", "none"]
Evidence: TypeAlias = Literal["graph", "answers", "name", "option", "assumed"]

DEFAULT_THRESHOLD = 0.5

# Rows of a softmax sum to 1 but for rounding; of a quantised or a half-precision one, a little less exactly.
_SUM_TOLERANCE = 1e-3
_SUM_TOLERANCE_HALF = 2e-2

_EVIDENCE: dict[str, str] = {
    "graph": "seen at the end of the graph",
    "answers": "seen in the golden answers",
    "name": "seen in the name",
    "option": "as the export was told",
    "assumed": "assumed",
}


@dataclass(frozen=True)
class Outputs:
    """What the answer of a model means.

    Attributes:
        meaning: `logits` or `probabilities` of classes of which one is true, `sigmoid` scores of labels of
            which several may be true, an `embedding`, or `tensors` that are neither.
        name: the output that is meant; None for `tensors`.
        function: what makes scores of the output's values: `softmax`, `sigmoid`, or `none` where they are
            scores already.
        classes: how many labels there are; 2 where the output is one value, the logit or the probability of
            the second. None for `embedding` and `tensors`.
        normalised: of an embedding, whether its Euclidean norm is 1; else None.
        threshold: of `sigmoid` scores, from which score on a label counts as true; else None.
        evidence: how this is known: from the end of the `graph`, from the golden `answers`, from the `name`
            of an output, from an `option` of the export, or `assumed`.
    """

    meaning: Meaning
    name: str | None = None
    function: Function = "none"
    classes: int | None = None
    normalised: bool | None = None
    threshold: float | None = None
    evidence: Evidence = "assumed"

    def __post_init__(self) -> None:
        if (self.meaning == "tensors") != (self.name is None):
            raise UsageError("outputs: name: the output that is meant, and none for tensors")
        if self.is_classifier != (self.classes is not None) or (
            self.classes is not None and self.classes < 1
        ):
            raise UsageError("outputs: classes: a number for scores, and none for others")
        if self.several_labels != (self.threshold is not None):
            raise UsageError("outputs: threshold: a number for sigmoid scores, and none for others")
        if self.threshold is not None:
            check_threshold(self.threshold)

    @property
    def is_classifier(self) -> bool:
        """Whether the answer is a score for each label."""
        return self.meaning in ("logits", "probabilities", "sigmoid")

    @property
    def several_labels(self) -> bool:
        """Whether several labels may be true at once."""
        return self.meaning == "sigmoid"

    def __str__(self) -> str:
        known = _EVIDENCE[self.evidence]
        if self.meaning == "tensors":
            return "tensors"
        if self.meaning == "embedding":
            return f"{self.name}: an embedding, {'' if self.normalised else 'not '}normalised ({known})"
        applied = "as they are" if self.function == "none" else f"by {self.function}"
        if self.several_labels:
            what = f"scores of several labels, true from {self.threshold:g} on"
        else:
            what = "probabilities of one class"
        return f"{self.name}: {what}, {applied} ({known})"

    def with_threshold(self, threshold: float | None) -> Outputs:
        """The same with another threshold; None leaves it as it is.

        Raises:
            UsageError: it is not between 0 and 1, or only one label can be true.
        """
        if threshold is None:
            return self
        if not self.several_labels:
            raise UsageError(
                "a threshold applies to models of which several labels may be true, and of this one "
                "exactly one is",
                hint="leave the threshold out; if several labels may be true, export with --scores sigmoid",
            )
        return replace(self, threshold=check_threshold(threshold))


def check_threshold(threshold: float) -> float:
    """The threshold, if it is one.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if not 0 <= threshold <= 1:
        raise UsageError("a threshold must be between 0 and 1", got=f"{threshold:g}")
    return threshold


def width(spec: TensorSpec) -> int | None:
    """How many values an output has for one image, if they form one row: [N], [N, C], [N, C, 1, 1]; else
    None.

    [1, C] of a model that takes one image at a time is one row, too. An output of integers is none.
    """
    row = spec.shape[1:]
    if not spec.shape or not spec.dtype.startswith(("float", "bfloat")):
        return None
    if any(not isinstance(dim, int) for dim in row) or any(dim != 1 for dim in row[1:]):
        return None
    return int(row[0]) if row else 1


def rows(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """An output's values with one row for each image: shape (images, values)."""
    return values.reshape(len(values), -1)


def sum_to_one(values: npt.NDArray[np.generic]) -> bool:
    """Whether every row holds values within 0..1 whose sum is 1; `values` has shape (images, classes)."""
    tolerance = _SUM_TOLERANCE_HALF if values.dtype == np.float16 else _SUM_TOLERANCE
    sums = np.asarray(values, np.float64).sum(axis=1)
    return within_unit(values) and bool((np.abs(sums - 1) <= tolerance).all())


def within_unit(values: npt.NDArray[np.generic]) -> bool:
    """Whether all values are within 0..1."""
    array = np.asarray(values, np.float64)
    return bool((array >= -1e-6).all() and (array <= 1 + 1e-6).all())


def unit_norm(values: npt.NDArray[np.generic]) -> bool:
    """Whether the Euclidean norm of every row is 1; `values` has shape (images, values)."""
    tolerance = _SUM_TOLERANCE_HALF if values.dtype == np.float16 else _SUM_TOLERANCE
    norms = np.linalg.norm(np.asarray(values, np.float64), axis=1)
    return bool((np.abs(norms - 1) <= tolerance).all())


def of_an_older_bundle(
    signature: Signature, labels: int, golden: dict[str, npt.NDArray[np.generic]]
) -> Outputs:
    """What a manifest of schema version 1 means, which does not say it.

    Such a bundle has labels where its only output is one row of floats for each image; that they are
    probabilities already can be seen from the golden answers.

    Args:
        signature: its inputs and outputs.
        labels: how many labels it has, 0 for none.
        golden: the golden outputs by name.
    """
    if not labels:
        return Outputs("tensors")
    name = signature.outputs[0].name
    if sum_to_one(rows(golden[name])):
        return Outputs("probabilities", name, classes=labels, evidence="answers")
    return Outputs("logits", name, "softmax", labels)
