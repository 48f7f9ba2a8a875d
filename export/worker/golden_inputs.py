"""Golden inputs: photographs, noise and extremes that stand for what a model will meet; or noise alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pinnace.export.worker.golden_outputs import SIZES
from pinnace.models.bundle.golden import Arrays
from pinnace.models.bundle.signature import BATCH, Signature, TensorSpec
from pinnace.models.image.decode import open_image
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.photographs import photographs

# Noise is rounded to this fraction so that the archive compresses.
_STEPS = 16
_SEED = 20240607

# Scales of the noise for a model that takes no image, one a sample.
_SCALES = (1.0, 1.0, 1.0, 0.1, 8.0, 1.0)


def image_inputs(preprocess: Preprocess, size: tuple[int, int]) -> npt.NDArray[np.generic]:
    """Inputs for an image model: one for each sample, as `Preprocess.apply` gives them.

    The photographs come first, as the preprocessing makes them. Then a negative, black, white and uint8
    noise; then what no picture gives: zeros, and normal noise of the deviation that the photographs have, at
    least 1, and of 8 times that; or more noise where pixels are taken as they are. A model that branches on
    its data and was traced on photographs meets the other branch here.

    Args:
        preprocess: the model's preprocessing.
        size: height and width of one input.
    """
    height, width = size
    channels = preprocess.channels
    rng = np.random.default_rng(_SEED)
    crops = [preprocess.crop_uint8(open_image(path)) for path in photographs()]
    crops += [
        255 - crops[0],
        np.zeros((height, width, channels), np.uint8),
        np.full((height, width, channels), 255, np.uint8),
        rng.integers(0, 256, (height, width, channels), np.uint8),
    ]
    pictures = np.stack([preprocess.normalise(crop) for crop in crops])
    return np.concatenate([pictures, _noise(rng, pictures)])


def _noise(rng: np.random.Generator, pictures: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    shape = pictures.shape[1:]
    zeros = np.zeros(shape, pictures.dtype)
    if pictures.dtype.kind in "ui":
        dark = rng.integers(0, 32, shape, np.uint8).astype(np.int16)
        least = -128 if pictures.dtype == np.int8 else 0
        return np.stack([zeros, dark + least, 255 - dark + least]).astype(pictures.dtype)
    normal = np.round(rng.standard_normal(shape) * _STEPS) / _STEPS
    normal *= max(1, round(float(np.asarray(pictures[: len(photographs())], np.float64).std())))
    return np.stack([zeros, normal, 8 * normal]).astype(pictures.dtype)


def tensor_inputs(specs: Sequence[TensorSpec], sizes: Mapping[str, int], sample: int = 0) -> Arrays:
    """Inputs for one call of a model that takes no image.

    Floats are normal noise. Integers are 0 and 1, because they are often indices, and nobody knows into what.

    Args:
        specs: the inputs.
        sizes: of the dynamic dimensions.
        sample: which sample; they differ, and one of them is large.
    """
    rng = np.random.default_rng([_SEED, sample])
    arrays: Arrays = {}
    for spec in specs:
        shape = tuple(dim if isinstance(dim, int) else sizes[dim] for dim in spec.shape)
        if spec.dtype.startswith("float"):
            noise = np.round(rng.standard_normal(shape) * _STEPS) / _STEPS * _SCALES[sample]
            arrays[spec.name] = np.asarray(noise).astype(spec.dtype)
        else:
            arrays[spec.name] = np.asarray(rng.integers(0, 2, shape)).astype(spec.dtype)
    return arrays


def tensor_samples(signature: Signature) -> Arrays:
    """All golden inputs of a model that takes no image, as `golden.calls` reads them."""
    sizes = {dim: SIZES[0] for spec in signature.inputs for dim in spec.shape if isinstance(dim, str)}
    calls = [tensor_inputs(signature.inputs, sizes | {BATCH: 1}, index) for index in range(len(_SCALES))]
    join = np.stack if signature.batch is None else np.concatenate
    return {name: join([call[name] for call in calls]) for name in signature.input_names}
