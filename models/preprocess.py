"""The preprocessing of a model, as data, and the one implementation of it.

Equal to torchvision's PIL pipeline to the bit up to the uint8 crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Interpolation = Literal["nearest", "bilinear", "bicubic"]
ColorMode = Literal["RGB", "L"]


@dataclass(frozen=True)
class Preprocess:
    """Resize, crop and normalise: what a model wants to eat.

    Attributes:
        resize: an int scales the shortest edge to it, keeping the aspect ratio; (height, width) scales to
            exactly that; None leaves the size alone.
        interpolation: the filter of the resize (antialiased, as Pillow does it).
        crop: (height, width) of the centre crop, padded with black where the image is smaller; None for none.
        color: `RGB` (3 channels) or `L` (1 channel).
        mean: per channel, subtracted after scaling to 0..1.
        std: per channel, divided by after the mean is subtracted.
        exif: apply the EXIF orientation first.
    """

    resize: int | tuple[int, int] | None
    interpolation: Interpolation
    crop: tuple[int, int] | None
    color: ColorMode
    mean: tuple[float, ...]
    std: tuple[float, ...]
    exif: bool = True

    def crop_uint8(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """The image resized and cropped: uint8, shape (height, width, channels)."""
        raise NotImplementedError

    def normalise(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 (height, width, channels) to float32 (channels, height, width), contiguous."""
        raise NotImplementedError

    def apply(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """The model's input for one image: float32, shape (channels, height, width), contiguous."""
        return self.normalise(self.crop_uint8(image))
