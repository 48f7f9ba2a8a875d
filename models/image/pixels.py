"""The pixels of any Pillow image as 8-bit `RGB` or `L`, the right way up."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from pinnace.models.errors import UnsupportedImage

PillowMode = Literal["RGB", "L"]

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_EIGHT_OF_SIXTEEN = ((np.arange(1 << 16) + 128) // 257).astype(np.uint8)


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Undo an EXIF orientation, 1 to 8, as `ImageOps.exif_transpose` does; 1 changes nothing."""
    method = _TRANSPOSES.get(orientation)
    return image if method is None else image.transpose(method)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image that is loaded; 1 where there is none or the EXIF is broken."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(value) if value in _TRANSPOSES else 1
    except Exception:
        return 1


def eight_bit(image: Image.Image, color: PillowMode) -> Image.Image:
    """The image in mode `color`, equal to Pillow's `convert`, except for images of more than 8 bits.

    16-bit grey is scaled to 8 bits, round(value / 257), where Pillow would cut it off at 255. Mode `I`, as
    which some 16-bit files open, is taken for 16 bits too. An image that has the mode is returned itself.

    Raises:
        UnsupportedImage: mode `F`, mode `I` with values outside 0..65535, or a mode Pillow cannot convert.
    """
    if image.mode == color:
        return image
    if image.mode.startswith("I"):
        image = _from_sixteen_bits(image)
    elif image.mode == "F":
        raise UnsupportedImage(
            "a floating-point image has no agreed scale to 8 bits",
            got="mode F",
            hint="scale it to 0..255 and convert it to uint8 first",
        )
    try:
        return _without_transparency(image).convert(color)
    except ValueError as error:
        if color == "L" and image.mode == "LAB":
            return image.convert("RGB").convert("L")
        raise UnsupportedImage(f"an image of mode {image.mode} cannot be converted to {color}") from error


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    values: npt.NDArray[np.generic] = np.asarray(image)
    if image.mode == "I" and (values.min() < 0 or values.max() > 65535):
        raise UnsupportedImage(
            "a 32-bit integer image has no agreed scale to 8 bits",
            expected="values from 0 to 65535",
            got=f"values from {values.min()} to {values.max()}",
            hint="scale it to 0..255 and convert it to uint8 first",
        )
    return Image.fromarray(_EIGHT_OF_SIXTEEN[values])


def _without_transparency(image: Image.Image) -> Image.Image:
    """A copy that has forgotten its transparent colour, if any: `convert` would warn, and not use it."""
    if "transparency" not in image.info:
        return image
    image = image.copy()
    del image.info["transparency"]
    return image
