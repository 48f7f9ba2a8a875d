"""Whether an inception_v3 or googlenet of torchvision was trained with `transform_input`.

torchvision sets it where it builds the network with weights of ImageNet, and a state_dict does not say so.
The network then scales its input, normalised as for ImageNet, to mean 0.5 and standard deviation 0.5. What
its first layer saw during training is in the statistics of the batch norm behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pinnace.models.image.decode import open_image
from pinnace.models.loaders.base import imagenet_preprocess
from pinnace.models.photographs import photographs

# The first layer of each, and its stride; by the name of the network.
FIRST_LAYERS = {"inception_v3": ("Conv2d_1a_3x3", 2, 0), "googlenet": ("conv1", 2, 3)}
_SIZE = 299
_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
# The two ways differ by a factor of about four in variance, log 4 = 1.4: a quarter of that decides.
_DECIDES = 0.35


def was_transformed(name: str, state: Mapping[str, Any]) -> bool | None:
    """Whether the statistics of the first layer are those of an input that was transformed; None if unclear.

    Args:
        name: `inception_v3` or `googlenet`.
        state: the weights; the names may have a prefix.
    """
    layer, stride, padding = FIRST_LAYERS[name]
    found = [
        _named(state, f"{layer}.{part}") for part in ("conv.weight", "bn.running_mean", "bn.running_var")
    ]
    if any(tensor is None for tensor in found):
        return None
    weight, mean, variance = (tensor.detach().double() for tensor in found)
    if weight.ndim != 4 or weight.shape[1] != 3 or not (variance > 0).all():
        return None
    plain = _images()
    transformed = plain * (_STD / 0.5)[:, None, None] + ((_MEAN - 0.5) / 0.5)[:, None, None]
    off = [_distance(images, weight, mean, variance, stride, padding) for images in (plain, transformed)]
    if not np.isfinite(off).all() or abs(off[0] - off[1]) < _DECIDES:
        return None
    return bool(off[1] < off[0])


def _named(state: Mapping[str, Any], name: str) -> Any:
    return next((value for key, value in state.items() if key == name or key.endswith(f".{name}")), None)


def _images() -> npt.NDArray[np.float64]:
    """Photographs, normalised so that all of them together have mean 0 and deviation 1, as ImageNet has."""
    preprocess = imagenet_preprocess(_SIZE)
    images = np.stack([preprocess.apply(open_image(path)) for path in photographs()]).astype(np.float64)
    means, deviations = (part((0, 2, 3), keepdims=True) for part in (images.mean, images.std))
    return np.asarray((images - means) / deviations, np.float64)


def _distance(
    images: npt.NDArray[np.float64], weight: Any, mean: Any, variance: Any, stride: int, padding: int
) -> float:
    """How far the statistics of photographs behind a layer are from those that it keeps.

    The median over its channels of |log(variance / kept)| / 2 + |mean - kept| / kept deviation.
    """
    import torch

    answers = torch.nn.functional.conv2d(torch.from_numpy(images), weight, stride=stride, padding=padding)
    means, variances = answers.mean((0, 2, 3)), answers.var((0, 2, 3))
    off = (variances / variance).log().abs() / 2 + (means - mean).abs() / variance.sqrt()
    return float(off.median())
