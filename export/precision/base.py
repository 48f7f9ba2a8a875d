"""What a conversion is: a function from the fp32 ONNX file to a file in another precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pinnace.models.bundle.measurements import Quantisation
from pinnace.models.progress import Progress, ignore

Floats = npt.NDArray[np.float32]

# How ranges are found from images: as users spell it, and the member of onnxruntime's CalibrationMethod.
METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
DEFAULT_METHOD = "minmax"

# The recipe of int8 that stands for the best of them.
AUTO = "auto"


@dataclass(frozen=True)
class ConversionInput:
    """What a conversion works with.

    Attributes:
        path: the fp32 ONNX file.
        golden: the golden inputs by name; first dimension the sample.
        input: name of the input that takes images.
        images: preprocessed calibration images, float32, first dimension the image, or None.
        method: how ranges are found from images; a key of `METHODS`.
        recipe: of int8: one of `pinnace.export.precision.recipes`, or `auto` for the best of them.
        one_class: the only output is logits of which a softmax makes probabilities of classes.
        fixed_batch: the model takes one sample at a time.
        progress: told before each step.
    """

    path: Path
    golden: Mapping[str, npt.NDArray[np.generic]]
    input: str
    images: Floats | None = None
    method: str = DEFAULT_METHOD
    recipe: str = AUTO
    one_class: bool = False
    fixed_batch: bool = False
    progress: Progress = ignore


@dataclass(frozen=True)
class Converted:
    """What is known of a conversion once its file is written.

    Attributes:
        notes: sentences for the user.
        quantisation: how int8 was made.
    """

    notes: tuple[str, ...] = ()
    quantisation: Quantisation | None = None


@dataclass(frozen=True)
class Conversion:
    """One conversion of the fp32 ONNX file.

    Attributes:
        precision: what the result is, such as `int8`.
        needs_images: it is calibrated with images of the user's.
        packages: distributions whose versions go into the manifest.
        convert: writes the file and gives what there is to say of it.
        snippet: Python lines that convert without Pinnace, given the names of the fp32 file and of the
            result, for a script that shows a failure; `DATA` is the folder of the fp32 file there, and
            `inputs` the golden inputs.
        activations: how the result stores what flows between its nodes, where that matters to a runtime.
    """

    precision: str
    needs_images: bool
    packages: tuple[str, ...]
    convert: Callable[[ConversionInput, Path], Converted]
    snippet: Callable[[str, str], str]
    activations: str | None = None
