"""Golden inputs: photographs, noise and extremes that stand for what a model will meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pinnace.models.images import open_image
from pinnace.models.preprocess import Preprocess

PHOTOGRAPHS = Path(__file__).parent / "photographs"

# Noise is rounded to this fraction so that the archive compresses.
_STEPS = 16
_SEED = 20240607


def photographs() -> list[Path]:
    """The photographs that come with the package, in a fixed order."""
    return sorted(PHOTOGRAPHS.glob("*.jpg"))


def image_inputs(preprocess: Preprocess, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Inputs for an image model: float32, shape (samples, channels, height, width).

    The photographs come first, as the preprocessing makes them. Then a negative, black, white and uint8
    noise; then what no picture gives: zeros, and normal noise of standard deviation 1 and 8. A model that
    branches on its data and was traced on photographs meets the other branch here.

    Args:
        preprocess: the model's preprocessing.
        shape: of one input, without the batch.
    """
    channels, height, width = shape
    rng = np.random.default_rng(_SEED)
    crops = [preprocess.crop_uint8(open_image(path)) for path in photographs()]
    crops += [
        255 - crops[0],
        np.zeros((height, width, channels), np.uint8),
        np.full((height, width, channels), 255, np.uint8),
        rng.integers(0, 256, (height, width, channels), np.uint8),
    ]
    return np.concatenate([np.stack([preprocess.normalise(crop) for crop in crops]), _noise(rng, shape)])


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    normal = np.round(rng.standard_normal(shape) * _STEPS) / _STEPS
    return np.stack([np.zeros(shape), normal, 8 * normal]).astype(np.float32)
