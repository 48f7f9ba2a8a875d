"""What a record keeps of an image besides its bytes: format, size and mean brightness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from pinnace.models.image.preprocess import Preprocess

# ITU-R BT.601, as Pillow makes grey of colours.
_LUMA = {"RGB": (0.299, 0.587, 0.114), "BGR": (0.114, 0.587, 0.299), "L": (1.0,)}

# Along each edge of the model's input about so many pixels are looked at.
_GRID = 56


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
    if preprocess.layout == "NCHW":
        array = array.transpose(1, 2, 0)
    elif preprocess.layout == "NHW":
        array = array[..., np.newaxis]
    rows, columns = max(1, array.shape[0] // _GRID), max(1, array.shape[1] // _GRID)
    # In float64 of a few pixels, as float16 would overflow.
    means = array[rows // 2 :: rows, columns // 2 :: columns].mean(axis=(0, 1), dtype=np.float64)
    pixels = (means * preprocess.std + preprocess.mean) / preprocess.scale
    return float(pixels @ _LUMA[preprocess.color])
