"""What a record keeps of an image besides its bytes: format, size and mean brightness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from pinnace.models.image.preprocess import Preprocess

# ITU-R BT.601, as Pillow makes grey of colours.
_LUMA = {"RGB": (0.299, 0.587, 0.114), "BGR": (0.114, 0.587, 0.299), "L": (1.0,)}

# About so many rows and columns of the model's input are looked at.
_GRID = (28, 56)


@dataclass(frozen=True)
class ImageFacts:
    """What an image is like.

    Attributes:
        format: Pillow's name of the file's type.
        width: in pixels, as it is stored.
        height: in pixels, as it is stored.
        bytes: of the file.
        brightness: mean brightness of the part that the model sees, 0 to 255.
    """

    format: str
    width: int
    height: int
    bytes: int
    brightness: float


def facts_of(
    image: Image.Image, size: int, prepared: npt.NDArray[np.generic], preprocess: Preprocess
) -> ImageFacts:
    """The facts of an image file.

    Args:
        image: as `open_image` gives it, decoded or not.
        size: the bytes of the file.
        prepared: the model's input for it.
        preprocess: what made that.
    """
    format = image.format or ""
    return ImageFacts(format, image.width, image.height, size, brightness(prepared, preprocess))


def brightness(prepared: npt.NDArray[np.generic], preprocess: Preprocess) -> float:
    """Mean brightness (luma) of the part of an image that a model sees, 0 to 255.

    It is computed from the model's input, since a JPEG of which a window is decoded has no other pixels.

    Args:
        prepared: what `Preprocess.apply` gives for one image; or that with a batch of 1.
        preprocess: what made it.
    """
    array: npt.NDArray[np.generic] = prepared.reshape(prepared.shape[-len(preprocess.layout) + 1 :])
    first = 1 if preprocess.layout == "NCHW" else 0
    rows, columns = (max(1, array.shape[first + at] // most) for at, most in enumerate(_GRID))
    chosen = slice(rows // 2, None, rows), slice(columns // 2, None, columns)
    seen = array[:, chosen[0], chosen[1]] if first else array[chosen]
    # In float32, as float16 would overflow.
    sums = np.add.reduce(seen, axis=(first, first + 1), dtype=np.float32)
    count = seen.shape[first] * seen.shape[first + 1]
    means = [float(sums) / count] if preprocess.layout == "NHW" else [each / count for each in sums.tolist()]
    channels = zip(means, preprocess.std, preprocess.mean, _LUMA[preprocess.color], strict=True)
    pixels = sum(luma * (mean * std + shift) for mean, std, shift, luma in channels)
    return float(pixels / preprocess.scale)
