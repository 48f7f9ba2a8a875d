"""What a conversion is: a function from the fp32 ONNX file to a file in another precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Material:
    """What a conversion works with.

    Attributes:
        path: the fp32 ONNX file.
        input: name of its one input.
        golden: the golden inputs, float32, first dimension the sample.
        images: preprocessed calibration images, float32, first dimension the image; None where there are none.
        method: how ranges are found from images; a key of `calibration.METHODS`.
        step: called with a few words before each step.
    """

    path: Path
    input: str
    golden: Floats
    images: Floats | None = None
    method: str = "minmax"
    step: Callable[[str], None] = field(default=lambda text: None)


@dataclass(frozen=True)
class Conversion:
    """One conversion of the fp32 ONNX file.

    Attributes:
        precision: what the result is, such as `int8`.
        needs_images: it is calibrated with images of the user's.
        packages: distributions whose versions go into the manifest.
        convert: writes the file and gives notes for the manifest.
        activations: how the result stores what flows between its nodes, where that matters to a runtime.
    """

    precision: str
    needs_images: bool
    packages: tuple[str, ...]
    convert: Callable[[Material, Path], tuple[str, ...]]
    activations: str | None = None
