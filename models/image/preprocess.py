"""The preprocessing of a model, as data, and the one implementation of it.

Equal to torchvision's PIL pipeline to the bit: `Resize`, `CenterCrop`, `ToTensor`, `Normalize`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from pinnace.models.errors import ImageTooLarge, UsageError
from pinnace.models.image import pixels
from pinnace.models.image.decode import load_pixels
from pinnace.models.image.filters import Interpolation
from pinnace.models.image.pixels import ColorMode
from pinnace.models.image.resample import Window, resize_and_look_up, resize_window

__all__ = ["ColorMode", "Interpolation", "Preprocess"]

_MAX_UNCROPPED_PIXELS = 100_000_000
_LARGEST_NUMBER = 3e38


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

    Raises:
        UsageError: a value is none of these.
    """

    resize: int | tuple[int, int] | None
    interpolation: Interpolation
    crop: tuple[int, int] | None
    color: ColorMode
    mean: tuple[float, ...]
    std: tuple[float, ...]
    exif: bool = True

    def __post_init__(self) -> None:
        if not (self.resize is None or _is_size(self.resize) or _is_pair(self.resize)):
            expected = "a positive int, a pair of positive ints (height, width), or None"
            raise UsageError("resize is no size", expected=expected, got=repr(self.resize))
        if not (self.crop is None or _is_pair(self.crop)):
            expected = "a pair of positive ints (height, width), or None"
            raise UsageError("crop is no size", expected=expected, got=repr(self.crop))
        _require_one_of("interpolation", self.interpolation, get_args(Interpolation))
        _require_one_of("color", self.color, get_args(ColorMode))
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not _is_numbers(values, self.channels):
                expected = f"a tuple of {self.channels} finite numbers, one for each channel of {self.color}"
                raise UsageError(f"{name} does not fit the channels", expected=expected, got=repr(values))
        if not np.all(np.array(self.std, np.float32)):
            raise UsageError("std is zero in float32, and would be divided by", got=repr(self.std))

    @property
    def channels(self) -> int:
        """How many channels the result has."""
        return len(self.color)

    def crop_uint8(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """The image resized and cropped: uint8, shape (height, width, channels), contiguous.

        Raises:
            UnsupportedImage: the pixels have no agreed scale to 8 bits; see `pixels.eight_bit`.
            ImageTooLarge: without a crop, the resized image would have more than 100 million pixels.
            ImageError: the image was opened but not loaded, and its data is damaged.
        """
        return self._cropped(self._upright(image))

    def _upright(self, image: Image.Image) -> Image.Image:
        load_pixels(image)
        orientation = pixels.orientation(image) if self.exif else 1
        return pixels.upright(pixels.eight_bit(image, self.color), orientation)

    def _cropped(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        size = self._resized(image.height, image.width)
        if self.crop is None:
            _check_uncropped(image, size)
            return resize_window(image, size, Window(0, 0, *size), self.interpolation)
        window, (top, left) = _kept(size, self.crop)
        visible = resize_window(image, size, window, self.interpolation)
        if (window.height, window.width) == self.crop:
            return visible
        padded = np.zeros((*self.crop, self.channels), np.uint8)
        padded[top : top + window.height, left : left + window.width] = visible
        return padded

    def normalise(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 (height, width, channels) to float32 (channels, height, width), contiguous.

        The operations and their order are those of torchvision's `to_tensor` and `normalize`, in float32.
        """
        if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[2] != self.channels:
            raise UsageError(
                "the crop cannot be normalised",
                expected=f"uint8 of shape (height, width, {self.channels})",
                got=f"{crop.dtype} of shape {crop.shape}",
            )
        result = np.empty((self.channels, *crop.shape[:2]), np.float32)
        np.divide(crop.transpose(2, 0, 1), np.float32(255), out=result)
        result -= np.array(self.mean, np.float32)[:, None, None]
        result /= np.array(self.std, np.float32)[:, None, None]
        return result

    def apply(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """The model's input for one image: float32, shape (channels, height, width), contiguous.

        Raises:
            ImageError: as `crop_uint8`.
        """
        image = self._upright(image)
        size = self._resized(image.height, image.width)
        if self.crop is not None and self.channels == 3:
            window, _ = _kept(size, self.crop)
            if (window.height, window.width) == self.crop:
                made = resize_and_look_up(image, size, window, self.interpolation, self._table)
                if made is not None:
                    return made
        return self.normalise(self._cropped(image))

    @functools.cached_property
    def _table(self) -> bytes:
        """What `normalise` makes of each value of each channel."""
        values = np.arange(256, dtype=np.uint8)[:, np.newaxis, np.newaxis]
        return self.normalise(np.repeat(values, 3, axis=2)).tobytes()

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """The size after the resize: torchvision's `_compute_resized_output_size`."""
        if self.resize is None:
            return height, width
        if not isinstance(self.resize, int):
            return self.resize
        long = int(self.resize * max(height, width) / min(height, width))
        return (self.resize, long) if height <= width else (long, self.resize)


def _kept(size: tuple[int, int], crop: tuple[int, int]) -> tuple[Window, tuple[int, int]]:
    """What a crop keeps of an image, both (height, width), and its place (top, left) in the crop."""
    top, visible_top, height = _centre(size[0], crop[0])
    left, visible_left, width = _centre(size[1], crop[1])
    return Window(top, left, height, width), (visible_top, visible_left)


def _centre(size: int, crop: int) -> tuple[int, int, int]:
    """Where a crop lies along one axis: torchvision's `center_crop`, which pads what is smaller with black.

    Returns:
        The first pixel of the image that is kept, its place in the crop, and how many pixels are kept.
    """
    if crop > size:
        return 0, (crop - size) // 2, size
    return round((size - crop) / 2.0), 0, crop


def _check_uncropped(image: Image.Image, size: tuple[int, int]) -> None:
    if size[0] * size[1] > max(_MAX_UNCROPPED_PIXELS, image.width * image.height):
        raise ImageTooLarge(
            f"the image would be resized to {size[1]} x {size[0]} pixels, and is not cropped",
            expected=f"at most {_MAX_UNCROPPED_PIXELS:,} pixels",
            got=f"an image of {image.width} x {image.height} pixels",
            hint="set a crop, or resize to a fixed (height, width)",
        )


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(_is_size(each) for each in value)


def _is_numbers(values: object, count: int) -> bool:
    if not isinstance(values, tuple) or len(values) != count:
        return False
    return all(isinstance(each, int | float) and abs(each) <= _LARGEST_NUMBER for each in values)


def _require_one_of(name: str, value: object, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} is unknown", expected=", ".join(choices), got=repr(value))
