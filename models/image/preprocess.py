"""The preprocessing of a model, as data, and the one implementation of it.

Equal to torchvision's PIL pipeline to the bit: `Resize`, `CenterCrop`, `ToTensor`, `Normalize`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from pinnace.models.errors import ImageTooLarge, UsageError
from pinnace.models.image import jpeg, pixels
from pinnace.models.image.decode import load_pixels
from pinnace.models.image.filters import Interpolation
from pinnace.models.image.resample import Window, resize_and_look_up, resize_window

__all__ = ["Aspect", "Centre", "ColorMode", "InputDtype", "Interpolation", "Layout", "Preprocess"]

ColorMode = Literal["RGB", "BGR", "L"]
Layout = Literal["NCHW", "NHWC", "NHW"]
Centre = Literal["round", "floor"]
Aspect = Literal["squeeze", "crop"]
InputDtype = Literal["float32", "float16", "float64", "uint8", "int8", "int32", "int64"]

PIXELS = ("uint8", "int32", "int64")
"""The dtypes that hold pixels as they are."""

Array = npt.NDArray[np.generic]

UNIT = 1 / 255
"""The scale that makes 0..1 of a pixel."""

_MAX_UNCROPPED_PIXELS = 100_000_000
_LARGEST_NUMBER = 3e38
_LARGEST_EDGE = 65_535


@dataclass(frozen=True)
class Preprocess:
    """Resize, crop and normalise: what a model wants to eat.

    A number of the result is `(pixel * scale - mean) / std`, computed in float32.

    Attributes:
        resize: an int scales the shortest edge to it, keeping the aspect ratio; (height, width) scales to
            exactly that; None leaves the size alone.
        interpolation: the filter of the resize (antialiased, as Pillow does it).
        crop: (height, width) of the centre crop, padded with black where the image is smaller; None for none.
        color: `RGB` or `BGR` (3 channels, in this order) or `L` (1 channel).
        mean: per channel in the order of `color`, subtracted after the pixel (0..255) is scaled.
        std: per channel, divided by after the mean is subtracted.
        exif: apply the EXIF orientation first.
        scale: what a pixel is multiplied by; 1/255 makes 0..1, 1 leaves 0..255. Below 1 it is a division by
            1 / scale, so that 1/255 and 1/127.5 are those of `x / 255` and `x / 127.5` to the bit.
        layout: the order of the result's dimensions: `NCHW` has the channels first, `NHWC` last, and `NHW` of
            a grey image has none.
        dtype: of the result; `uint8`, `int32` and `int64` are the pixels as they are, which no scale, mean or
            std changes, and `int8` is the result rounded to whole numbers of -128..127.
        centre: where a crop begins if as many pixels are left over on both sides but one: `round` is
            torchvision's, `floor` that of transformers, which leaves the odd one at the end.
        aspect: what becomes of an image that has not the shape of a resize to (height, width): `squeeze`
            scales all of it, `crop` first cuts out its largest centred part of that shape, as fastai does.
            With `crop` there is no centre crop after it.

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
    scale: float = UNIT
    layout: Layout = "NCHW"
    dtype: InputDtype = "float32"
    centre: Centre = "round"
    aspect: Aspect = "squeeze"

    def __post_init__(self) -> None:
        if not (self.resize is None or _is_size(self.resize) or _is_pair(self.resize)):
            expected = "a positive int, a pair of positive ints (height, width), or None"
            raise UsageError("resize is not a size", expected=expected, got=repr(self.resize))
        if not (self.crop is None or _is_pair(self.crop)):
            expected = "a pair of positive ints (height, width), or None"
            raise UsageError("crop is not a size", expected=expected, got=repr(self.crop))
        if self.crop is not None and self.crop[0] * self.crop[1] > _MAX_UNCROPPED_PIXELS:
            raise UsageError(
                "the crop is too large",
                expected=f"at most {_MAX_UNCROPPED_PIXELS:,} pixels",
                got=f"{self.crop[0]} x {self.crop[1]}",
            )
        _require_one_of("interpolation", self.interpolation, get_args(Interpolation))
        _require_one_of("color", self.color, get_args(ColorMode))
        _require_one_of("layout", self.layout, get_args(Layout))
        _require_one_of("dtype", self.dtype, get_args(InputDtype))
        _require_one_of("centre", self.centre, get_args(Centre))
        _require_one_of("aspect", self.aspect, get_args(Aspect))
        if self.aspect == "crop" and not (_is_pair(self.resize) and self.crop is None):
            raise UsageError(
                "aspect crop cuts images before they are resized",
                expected="a resize to (height, width), and no crop",
                got=f"resize {self.resize!r} and crop {self.crop!r}",
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not _is_numbers(values, self.channels):
                expected = f"a tuple of {self.channels} finite numbers, one for each channel of {self.color}"
                raise UsageError(f"{name} does not fit the channels", expected=expected, got=repr(values))
        if not np.all(np.array(self.std, np.float32)):
            raise UsageError("std must not be zero in float32", got=repr(self.std))
        if not (_is_numbers((self.scale,), 1) and self.scale > 1 / _LARGEST_NUMBER):
            raise UsageError("scale is not a positive number", got=repr(self.scale))
        if self.layout == "NHW" and self.channels != 1:
            raise UsageError(
                "an input without a dimension for channels takes grey images", expected="L", got=self.color
            )
        if self.dtype in PIXELS and not (
            self.scale == 1 and not any(self.mean) and all(value == 1 for value in self.std)
        ):
            raise UsageError(
                f"an input of {self.dtype} takes the pixels as they are",
                expected="scale 1, mean 0 and std 1",
                got=f"scale {self.scale:.6g}, mean {self.mean} and std {self.std}",
            )

    @property
    def channels(self) -> int:
        """How many channels the result has."""
        return len(self.color)

    def arranged(self, height: int | str, width: int | str) -> tuple[int | str, ...]:
        """The shape of one input of this height and width, without the batch, in the order of `layout`."""
        shapes: dict[Layout, tuple[int | str, ...]] = {
            "NCHW": (self.channels, height, width),
            "NHWC": (height, width, self.channels),
            "NHW": (height, width),
        }
        return shapes[self.layout]

    def crop_uint8(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """The image resized and cropped: uint8, shape (height, width, channels), channels as `color` says.

        Raises:
            UnsupportedImage: the pixels have no agreed scale to 8 bits; see `pixels.eight_bit`.
            ImageTooLarge: without a crop, the resized image would have more than 100 million pixels.
            ImageError: the image was opened but not loaded, and its data is damaged.
        """
        return self._cropped(self._upright(image))

    @property
    def takes_window(self) -> bool:
        """Whether `apply` may make do with a part of an image, and with a JPEG that is not decoded."""
        return self.crop is not None and self.channels == 3 and self.dtype not in PIXELS

    def seen_part(self, image: Image.Image) -> tuple[float, float, float, float]:
        """Which part of an image is left after the crop: left, top, width and height, as shares of it.

        The image is the right way up, where `exif` says that it is turned. A part that the crop pads with
        black begins below 0 or ends beyond 1.
        """
        turned = self.exif and pixels.orientation(image) >= 5
        width, height = (image.height, image.width) if turned else image.size
        if self.aspect == "crop":
            left, top, right, bottom = self._part(height, width)
            return left / width, top / height, (right - left) / width, (bottom - top) / height
        size = self._resized(height, width)
        crop = self.crop or size
        (top, inner_top, _), (left, inner_left, _) = (
            _centre(edge, kept, self.centre) for edge, kept in zip(size, crop, strict=True)
        )
        left, top = left - inner_left, top - inner_top
        return left / size[1], top / size[0], crop[1] / size[1], crop[0] / size[0]

    def _upright(self, image: Image.Image) -> Image.Image:
        load_pixels(image)
        orientation = pixels.orientation(image) if self.exif else 1
        return pixels.upright(pixels.eight_bit(image, "L" if self.color == "L" else "RGB"), orientation)

    def _cropped(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        kept = self._kept_pixels(image)
        return np.ascontiguousarray(kept[:, :, ::-1]) if self.color == "BGR" else kept

    def _kept_pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        if self.aspect == "crop":
            image = image.crop(self._part(image.height, image.width))
        size = self._resized(image.height, image.width)
        if self.crop is None:
            _check_uncropped(image, size)
            return resize_window(image, size, Window(0, 0, *size), self.interpolation)
        window, (top, left) = _kept(size, self.crop, self.centre)
        visible = resize_window(image, size, window, self.interpolation)
        if (window.height, window.width) == self.crop:
            return visible
        padded = np.zeros((*self.crop, self.channels), np.uint8)
        padded[top : top + window.height, left : left + window.width] = visible
        return padded

    def normalise(self, crop: npt.NDArray[np.uint8]) -> Array:
        """What the model is fed for a crop: `dtype`, contiguous, dimensions as `arranged` says.

        Args:
            crop: uint8, shape (height, width, channels), as `crop_uint8` gives it.

        The operations and their order are those of torchvision's `to_tensor` and `normalize`, in float32;
        another dtype is made of the result.
        """
        if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[2] != self.channels:
            raise UsageError(
                "the crop cannot be normalised",
                expected=f"uint8 of shape (height, width, {self.channels})",
                got=f"{crop.dtype} of shape {crop.shape}",
            )
        return self._laid_out(crop.transpose(2, 0, 1) if self.dtype in PIXELS else self._planes(crop))

    def _planes(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 (height, width, channels) to normalised float32 (channels, height, width), contiguous."""
        result = np.empty((self.channels, *crop.shape[:2]), np.float32)
        if self.scale < 1:
            np.divide(crop.transpose(2, 0, 1), np.float32(1 / self.scale), out=result)
        else:
            np.multiply(crop.transpose(2, 0, 1), np.float32(self.scale), out=result)
        result -= np.array(self.mean, np.float32)[:, None, None]
        result /= np.array(self.std, np.float32)[:, None, None]
        return result

    def _laid_out(self, planes: Array) -> Array:
        """Numbers of shape (channels, height, width) in the layout and dtype of the model; itself where it is
        so.
        """
        turned = planes.transpose(1, 2, 0) if self.layout == "NHWC" else planes
        turned = planes[0] if self.layout == "NHW" else turned
        if self.dtype == "int8":
            turned = np.clip(np.rint(turned), -128, 127)
        return np.ascontiguousarray(turned, dtype=self.dtype)

    def apply(self, image: Image.Image) -> Array:
        """The model's input for one image: `dtype`, contiguous, dimensions as `arranged` says.

        Of a JPEG that `open_image` left undecoded, no more is decoded than the crop needs, where that is
        compiled; the result is the same to the bit.

        Raises:
            ImageError: as `crop_uint8`.
        """
        if jpeg.is_undecoded(image) and (made := self._undecoded(image)) is not None:
            return made
        image = self._upright(image)
        size = self._resized(image.height, image.width)
        if (window := self._full_window(size)) is not None:
            made = resize_and_look_up(image, size, window, self.interpolation, self._table)
            if made is not None:
                return self._coloured(made)
        return self.normalise(self._cropped(image))

    def _undecoded(self, image: Image.Image) -> Array | None:
        """The result for a JPEG that is not decoded; None where it has to be."""
        orientation = pixels.orientation(image) if self.exif else 1
        width, height = image.size if orientation < 5 else image.size[::-1]
        size = self._resized(height, width)
        if (window := self._full_window(size)) is None:
            return None
        made = jpeg.look_up(
            image, orientation, (height, width), size, window, self.interpolation, self._table
        )
        return None if made is None else self._coloured(made)

    def _full_window(self, size: tuple[int, int]) -> Window | None:
        """What the crop keeps of an image of `size`; None where it is padded, or a table is no help."""
        if self.crop is None or not self.takes_window:
            return None
        window, _ = _kept(size, self.crop, self.centre)
        return window if (window.height, window.width) == self.crop else None

    def _coloured(self, planes: npt.NDArray[np.float32]) -> Array:
        return self._laid_out(planes[::-1] if self.color == "BGR" else planes)

    @functools.cached_property
    def _table(self) -> bytes:
        """What the normalisation makes of each value of red, green and blue."""
        values = np.arange(256, dtype=np.uint8)[:, np.newaxis, np.newaxis]
        planes = self._planes(np.repeat(values, 3, axis=2))
        return (planes[::-1] if self.color == "BGR" else planes).tobytes()

    def __str__(self) -> str:
        """What is done to an image, in words."""
        parts = []
        if isinstance(self.resize, int):
            parts.append(f"shortest edge to {self.resize}, {self.interpolation}")
        elif self.resize is not None:
            if self.aspect == "crop":
                parts.append(f"largest centred part of the shape {self.resize[0]}:{self.resize[1]}")
            parts.append(f"resize to {self.resize[0]}x{self.resize[1]}, {self.interpolation}")
        if self.crop is not None:
            rounded = ", rounded down" if self.centre == "floor" else ""
            parts.append(f"centre crop {self.crop[0]}x{self.crop[1]}{rounded}")
        parts.append(self.color)
        if self.dtype in PIXELS:
            parts.append("pixels of 0..255")
        else:
            if self.scale != UNIT:
                parts.append(f"scale {self.scale:.6g}")
            for name, values in (("mean", self.mean), ("std", self.std)):
                parts.append(f"{name} " + " ".join(f"{value:.4g}" for value in values))
        parts += [self.layout] if self.layout != "NCHW" else []
        parts += [self.dtype] if self.dtype != "float32" else []
        return "; ".join(parts)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """The size after the resize: torchvision's `_compute_resized_output_size`."""
        if self.resize is None:
            return height, width
        if not isinstance(self.resize, int):
            return self.resize
        long = int(self.resize * max(height, width) / min(height, width))
        return (self.resize, long) if height <= width else (long, self.resize)

    def _part(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The largest centred part in the shape of the resize, as fastai's `Resize` computes it: left, top,
        right, bottom.
        """
        assert isinstance(self.resize, tuple)
        scale = min(width / self.resize[1], height / self.resize[0])
        kept_width, kept_height = max(1, int(scale * self.resize[1])), max(1, int(scale * self.resize[0]))
        left, top = int(0.5 * (width - kept_width)), int(0.5 * (height - kept_height))
        return left, top, left + kept_width, top + kept_height


def _kept(size: tuple[int, int], crop: tuple[int, int], centre: Centre) -> tuple[Window, tuple[int, int]]:
    """What a crop keeps of an image, both (height, width), and its place (top, left) in the crop."""
    top, visible_top, height = _centre(size[0], crop[0], centre)
    left, visible_left, width = _centre(size[1], crop[1], centre)
    return Window(top, left, height, width), (visible_top, visible_left)


def _centre(size: int, crop: int, centre: Centre) -> tuple[int, int, int]:
    """Where a crop lies along one axis; what is smaller is padded with black.

    `round` is torchvision's `center_crop`, `floor` is transformers'.

    Returns:
        The first pixel of the image that is kept, its place in the crop, and how many pixels are kept.
    """
    if crop > size:
        return 0, (crop - size) // 2 if centre == "round" else -((size - crop) // 2), size
    return round((size - crop) / 2.0) if centre == "round" else (size - crop) // 2, 0, crop


def _check_uncropped(image: Image.Image, size: tuple[int, int]) -> None:
    if size[0] * size[1] > max(_MAX_UNCROPPED_PIXELS, image.width * image.height):
        raise ImageTooLarge(
            f"the image would be resized to {size[1]} x {size[0]} pixels, and is not cropped",
            expected=f"at most {_MAX_UNCROPPED_PIXELS:,} pixels",
            got=f"an image of {image.width} x {image.height} pixels",
            hint="set a crop, or resize to a fixed (height, width)",
        )


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST_EDGE


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(_is_size(each) for each in value)


def _is_numbers(values: object, count: int) -> bool:
    if not isinstance(values, tuple) or len(values) != count:
        return False
    return all(isinstance(each, int | float) and abs(each) <= _LARGEST_NUMBER for each in values)


def _require_one_of(name: str, value: object, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} is unknown", expected=", ".join(choices), got=repr(value))
