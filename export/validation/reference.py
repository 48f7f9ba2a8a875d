"""What the user's photographs are like and how fp32 answers them, kept for `pinnace drift`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pinnace.export.calibration_images import PreparedImages
from pinnace.export.validation.photographs import Photographs
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.predictions import batch_scores
from pinnace.models.records import reference
from pinnace.models.records.observations import Observations


def keep_reference(
    folder: Path,
    given: PreparedImages | None,
    seen: Photographs | None,
    meaning: Outputs,
    labels: Sequence[str] | None,
) -> None:
    """Write the reference of a bundle, where the user gave photographs and the model classifies.

    Args:
        folder: the bundle that is being made.
        given: the user's photographs.
        seen: the golden photographs and the user's, with the answers of fp32.
        meaning: what the outputs mean.
        labels: one class name per output.
    """
    if given is None or seen is None or meaning.name is None or not labels or not meaning.is_classifier:
        return
    scores = batch_scores(seen.outputs[meaning.name][-len(given.inputs) :], meaning)
    first = scores.argmax(axis=1)
    columns = (
        np.array([getattr(facts, name) for facts in given.facts], np.float64)
        for name in ("width", "height", "bytes", "brightness")
    )
    named = np.array([labels[index] for index in first], np.str_)
    reference.write(folder, Observations(named, scores.max(axis=1), *columns))
