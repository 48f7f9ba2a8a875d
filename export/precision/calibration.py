"""Ranges of a network's tensors, found on images: the calibration of 8-bit integers."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.export.precision.base import METHODS, ConversionInput, Floats
from pinnace.models.progress import Event, Progress, Stage

if TYPE_CHECKING:
    import onnx

# The share of values that the percentile method keeps in range; ONNX Runtime's own default.
PERCENTILE = 99.999

# So many images' intermediate tensors are held in memory at once.
_IMAGES_AT_ONCE = 8


class _Reader:
    """Gives ONNX Runtime's calibrator one image after the other."""

    def __init__(self, name: str, images: Floats) -> None:
        self._feeds = ({name: image[None]} for image in images)

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._feeds, None)


def ranges_of(model: onnx.ModelProto, material: ConversionInput) -> Any:
    """The ranges of a prepared graph's tensors on the calibration images."""
    import onnx

    assert material.images is not None
    with tempfile.TemporaryDirectory(prefix="pinnace-ranges-") as folder:
        path = Path(folder, "prepared.onnx")
        onnx.save(model, str(path))
        return ranges(path, material.input, material.images, material.method, material.progress)


def ranges(path: Path, name: str, images: Floats, method: str, progress: Progress) -> Any:
    """Run a model on every image and give the range of every tensor.

    Args:
        path: an ONNX file that went through `quant_pre_process`.
        name: of its input.
        images: preprocessed images.
        method: a key of `METHODS`.
        progress: told before each handful of images.

    Returns:
        ONNX Runtime's `TensorsData`.
    """
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    options = {"percentile": PERCENTILE} if method == "percentile" else {}
    with tempfile.TemporaryDirectory(prefix="pinnace-calibrate-") as folder:
        # The calibrators print on standard output, which is for data.
        with contextlib.redirect_stdout(io.StringIO()):
            calibrator = create_calibrator(
                path,
                augmented_model_path=str(Path(folder, "augmented.onnx")),
                calibrate_method=CalibrationMethod[METHODS[method]],
                extra_options=options,
            )
            for first in range(0, len(images), _IMAGES_AT_ONCE):
                progress(Event(Stage.CALIBRATE, done=first + 1, total=len(images)))
                calibrator.collect_data(_Reader(name, images[first : first + _IMAGES_AT_ONCE]))
            progress(Event(Stage.FIND_RANGES, detail=method))
            found = calibrator.compute_data()
        del calibrator
    return found
