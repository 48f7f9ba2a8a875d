"""The output of a model for one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pinnace.models.answer import Timing


@dataclass(frozen=True)
class InferenceResult:
    """The raw output of the model for one image, before scores, top-k and labels.

    Attributes:
        logits: float32, shape (values,): logits, or what the bundle says of its output.
        timing_ms: where the time went.
    """

    logits: npt.NDArray[np.float32]
    timing_ms: Timing
