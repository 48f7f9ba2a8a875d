"""Accuracy where several labels may be true of an image: average precision and F1, by label."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pinnace.export.truth import Truth
from pinnace.export.validation.accuracy import open_runtimes, scores_of_images
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import UsageError
from pinnace.models.progress import Progress, ignore
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.uses import require


@dataclass(frozen=True)
class LabelAccuracy:
    """How well one label is found.

    Attributes:
        label: its name.
        positives: of how many images it is true.
        average_precision: see `average_precision`; None where it is true of no image.
        precision: of the images on which the score reaches the threshold, the share of which it is true;
            0 where there are none.
        recall: the share of the images of which it is true on which the score reaches the threshold; 0 where
            there are none.
        f1: harmonic mean of the two, 2 TP / (2 TP + FP + FN); 0 where there is nothing to count.
    """

    label: str
    positives: int
    average_precision: float | None
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class LabelsAccuracy:
    """How well all labels are found by one variant in one runtime.

    Attributes:
        variant: which variant.
        runtime: which runtime.
        images: how many images.
        threshold: from which score on a label counts as true.
        mean_average_precision: the mean of `average_precision` over labels that are true of an image.
        macro_f1: the mean of `f1` over all labels.
        micro_f1: F1 of all labels of all images counted together.
        labels: each label.
    """

    variant: str
    runtime: str
    images: int
    threshold: float
    mean_average_precision: float
    macro_f1: float
    micro_f1: float
    labels: tuple[LabelAccuracy, ...]


def average_precision(scores: npt.NDArray[np.float64], true: npt.NDArray[np.bool_]) -> float:
    """Average precision of one label: the sum over thresholds of (R_n - R_(n-1)) P_n, without interpolation.

    Equal scores are one threshold, as in scikit-learn's `average_precision_score`.

    Args:
        scores: shape (images,).
        true: shape (images,), at least one of them True.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(true[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    precision, recall = hits[last] / (last + 1), hits[last] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def measure(
    scores: npt.NDArray[np.float64], true: npt.NDArray[np.bool_], labels: Sequence[str], threshold: float
) -> tuple[LabelAccuracy, ...]:
    """Every label on its own; `scores` and `true` have shape (images, labels)."""
    found = scores >= threshold
    measured = []
    for index, label in enumerate(labels):
        hits = int((found[:, index] & true[:, index]).sum())
        claimed, positives = int(found[:, index].sum()), int(true[:, index].sum())
        measured.append(
            LabelAccuracy(
                label,
                positives,
                average_precision(scores[:, index], true[:, index]) if positives else None,
                hits / claimed if claimed else 0.0,
                hits / positives if positives else 0.0,
                2 * hits / (claimed + positives) if claimed + positives else 0.0,
            )
        )
    return tuple(measured)


def evaluate_labels(
    bundle: Bundle,
    truth: Truth,
    *,
    threshold: float | None = None,
    variants: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    also: Sequence[tuple[str, str]] = (),
    options: RuntimeOptions | None = None,
    progress: Progress = ignore,
) -> tuple[list[LabelsAccuracy], tuple[str, ...]]:
    """Measure every variant in every runtime that works here.

    Args:
        bundle: a classifier of which several labels may be true.
        truth: images, and what is true of them.
        threshold: from which score on a label counts as true; the bundle's own where None.
        variants: only these.
        runtimes: only these; one that has to be asked for by name takes part only here.
        also: variants in runtimes that take part in any case.
        options: threads and device.
        progress: told how many images are done.

    Returns:
        The accuracies, and sentences on what was passed over.

    Raises:
        UsageError: exactly one label is true of an image, or nothing is left to run.
        MissingDependency: no runtime here can run what was asked for.
    """
    require("classify", bundle)
    meaning = bundle.outputs.with_threshold(threshold)
    if meaning.threshold is None:
        raise UsageError(
            f"{bundle.name} is taken for a model of which exactly one class is true of an image",
            hint="give folders of classes with --images instead of --truth, or export with --scores sigmoid",
        )
    problems: list[str] = []
    with contextlib.ExitStack() as stack:
        opened, passed_over = open_runtimes(stack, bundle, variants, runtimes, options, also)
        scores = {name: np.zeros(truth.true.shape) for name in opened}
        read = np.zeros(len(truth.files), np.bool_)
        for chosen, found in scores_of_images(
            opened, truth.files, bundle.preprocess, meaning, problems, progress
        ):
            read[chosen] = True
            for name, values in found.items():
                scores[name][chosen] = values
    rows = [
        _summed(*name, values[read], truth.true[read], bundle.labels, meaning.threshold)
        for name, values in scores.items()
    ]
    return rows, (*passed_over, *problems)


def _summed(
    variant: str,
    runtime: str,
    scores: npt.NDArray[np.float64],
    true: npt.NDArray[np.bool_],
    labels: Sequence[str],
    threshold: float,
) -> LabelsAccuracy:
    each = measure(scores, true, labels, threshold)
    precisions = [one.average_precision for one in each if one.average_precision is not None]
    found = scores >= threshold
    total = int(found.sum() + true.sum())
    return LabelsAccuracy(
        variant,
        runtime,
        len(scores),
        threshold,
        float(np.mean(precisions)) if precisions else 0.0,
        float(np.mean([one.f1 for one in each])),
        2 * int((found & true).sum()) / total if total else 0.0,
        each,
    )
