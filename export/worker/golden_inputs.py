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
