"""An image as the bytes that are sent. Pillow and NumPy are imported only for what needs them."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pinnace.models.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

ImageSource: TypeAlias = (
    "bytes | bytearray | memoryview | str | os.PathLike[str] | Image.Image | npt.NDArray[np.uint8]"
)

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
_FAST = 1


def encode(image: ImageSource) -> bytes:
    """The bytes to send. Files and encoded bytes go as they are; pixels go as PNG, which loses nothing.

    Args:
        image: encoded bytes, a path, a Pillow image, or a uint8 array of shape (height, width),
            (height, width, 3) or (height, width, 4).

    Raises:
        ImageError: the file cannot be read, or the Pillow image cannot be loaded.
        UsageError: the image is of another kind, or an array of another shape or dtype.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        from pinnace.models.image.read import read_image_file

        return read_image_file(Path(image))
    if _is(image, "PIL.Image", "Image") or _is(image, "numpy", "ndarray"):
        return _png(image)
    raise UsageError(
        "an image is given as bytes, a path, a Pillow image or a uint8 array", got=type(image).__name__
    )


def _is(value: object, module: str, name: str) -> bool:
    # Where the module was never imported, no object of its classes can exist.
    return module in sys.modules and isinstance(value, getattr(sys.modules[module], name))


def _png(source: Image.Image | npt.NDArray[np.uint8]) -> bytes:
    from PIL import ExifTags, Image

    from pinnace.models.image import pixels
    from pinnace.models.image.decode import open_image

    image = open_image(source, max_pixels=sys.maxsize)
    # The model's preprocessing decides whether the orientation is applied; no other EXIF data is sent.
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = pixels.orientation(image)
    if image.mode not in _PNG_MODES:
        image = pixels.eight_bit(image, "L" if image.mode.startswith("I") else "RGB")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=_FAST, exif=exif)
    return buffer.getvalue()
