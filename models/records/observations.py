"""What a comparison needs of recorded answers, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Observations:
    """Answers as columns, each of shape (answers,).

    Attributes:
        labels: the most probable class of each; str.
        confidence: its score, 0 to 1.
        width: of the image, in pixels.
        height: of the image, in pixels.
        bytes: of the image's file.
        brightness: of the part that the model sees, 0 to 255.
    """

    labels: npt.NDArray[np.str_]
    confidence: Numbers
    width: Numbers
    height: Numbers
    bytes: Numbers
    brightness: Numbers

    def __len__(self) -> int:
        return len(self.labels)

    def pick(self, chosen: npt.NDArray[np.int_]) -> Observations:
        """Some of the answers, by their index."""
        return Observations(*(getattr(self, field.name)[chosen] for field in fields(self)))


def joined(parts: Sequence[Observations]) -> Observations:
    """All answers of several; at least one is given."""
    return Observations(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Observations))
    )
