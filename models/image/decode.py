"""Reading an image from bytes, a file, an array or a Pillow image; every failure is one of our errors."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from pinnace.models.errors import ImageError, ImageTooLarge, UnsupportedImage, UsageError
from pinnace.models.image.avif import check_avif
from pinnace.models.image.boxed import BOXED, boxed_format, ensure_reader
from pinnace.models.image.decode_limits import (
    MOST_GIF_READS,
    MeteredBytes,
    check_container,
    check_scans,
    check_tiff_scans,
    check_tiles,
    check_work,
    decoding_bytes,
)
from pinnace.models.image.jpeg import is_undecoded
from pinnace.models.image.read import read_image_file

ImageSource: TypeAlias = "bytes | str | os.PathLike[str] | Image.Image | npt.NDArray[np.uint8]"

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")

# What their names end in. It only chooses among the files of a folder: the bytes say what a file is.
SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif"),
    *(".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
)

_PREFIX_BYTES = 64  # with the brands that a HEIC or AVIF says it is compatible with

_WARNINGS = threading.Lock()


def open_image(
    source: ImageSource,
    *,
    max_pixels: int = 100_000_000,
    formats: tuple[str, ...] = FORMATS,
    reserve: Callable[[int], object] | None = None,
    whole: bool = True,
) -> Image.Image:
    """Open an image and load all its pixels; of a GIF, TIFF or animation the first frame.

    The type is decided from the first bytes, never from a name. The size is read from the header and checked
    before anything is decoded. No state of Pillow is changed; threads may call this at the same time.

    Args:
        source: the bytes of an image file, the path of one, a Pillow image, or a uint8 array of shape
            (height, width), (height, width, 3) or (height, width, 4).
        max_pixels: the most pixels, width times height, that are accepted.
        formats: Pillow's names of the types that are accepted.
        reserve: called with the bytes of memory that decoding an image file takes, before it does; may raise.
        whole: False leaves a JPEG undecoded where the compiled module may decode the window of it that is
            asked for; damage to it is an `ImageError` then.

    Raises:
        ImageError: the bytes are of an accepted type but damaged, or empty, or the file cannot be read.
        UnsupportedImage: the bytes are of no accepted type.
        ImageTooLarge: the image has more than `max_pixels` pixels, or more than memory holds.
        UsageError: the source is of another kind, or an array of another shape or dtype.
    """
    if isinstance(source, Image.Image):
        return _checked_and_loaded(source, max_pixels)
    if isinstance(source, np.ndarray):
        return _checked_and_loaded(_from_array(source), max_pixels)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(MeteredBytes(source), max_pixels, formats, reserve, whole)
    if isinstance(source, str | os.PathLike):
        data = MeteredBytes(read_image_file(Path(source)))
        return _decode(data, max_pixels, formats, reserve, whole)
    raise UsageError(
        "an image is given as bytes, a path, a Pillow image or a uint8 array", got=type(source).__name__
    )


def load_pixels(image: Image.Image) -> None:
    """Decode what is not decoded yet; whatever Pillow raises becomes an `ImageError`.

    Raises:
        ImageError: the data is damaged or cut short.
        ImageTooLarge: memory does not hold the pixels, or Pillow's own hard limit on them is exceeded.
    """
    kind = f"{image.format} image" if image.format else "image"
    limit = Image.MAX_IMAGE_PIXELS
    try:
        if image.format == "TIFF" and limit is not None and image.width * image.height > limit:
            _load_without_warning(image)
        else:
            image.load()
    except Exception as error:
        raise _as_image_error(error, kind) from error


def _load_without_warning(image: Image.Image) -> None:
    """Load a TIFF past Pillow's soft limit: its plugin warns a second time, after our own check passed it."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image.load()


def _checked_and_loaded(image: Image.Image, max_pixels: int) -> Image.Image:
    _check_pixels(image, max_pixels)
    load_pixels(image)
    return image


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise ImageTooLarge(
            f"the image has {image.width} x {image.height} = {pixels:,} pixels",
            expected=f"at most {max_pixels:,} pixels",
        )


def _from_array(array: npt.NDArray[np.uint8]) -> Image.Image:
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not shaped or not array.size:
        raise UsageError(
            "the array is not an image",
            expected="uint8 of shape (height, width), (height, width, 3) or (height, width, 4)",
            got=f"{array.dtype} of shape {array.shape}",
        )
    return Image.fromarray(array)


def _decode(
    stream: MeteredBytes,
    max_pixels: int,
    formats: tuple[str, ...],
    reserve: Callable[[int], object] | None,
    whole: bool,
) -> Image.Image:
    """Open and load without `Image.open`, which warns about large images before their size can be checked."""
    prefix = stream.read(_PREFIX_BYTES)
    if not prefix:
        raise ImageError("the image is empty")
    name = _recognise(prefix, formats)
    stream.seek(0)
    check_container(name, stream.getvalue(), max_pixels)
    if name == "GIF":
        stream.reads_left = MOST_GIF_READS
    try:
        image = Image.OPEN[name][0](stream, "")
    except Exception as error:
        raise _as_image_error(error, f"{name} image") from error
    if name == "JPEG":
        check_scans(stream.getvalue(), image.width * image.height)
    _check_pixels(image, max_pixels)
    check_tiles(image)
    if name == "AVIF":
        check_avif(stream.getbuffer(), image.width, image.height)
    if name == "TIFF":
        check_tiff_scans(image, stream.getvalue())
    check_work(image)
    if reserve is not None:
        reserve(decoding_bytes(image))
    if whole or not is_undecoded(image):
        load_pixels(image)
    return image


def _recognise(prefix: bytes, formats: tuple[str, ...]) -> str:
    """The name in `formats` of the type whose files begin like this."""
    names = [name.upper() for name in formats]
    boxed = boxed_format(prefix)
    if boxed in names:
        ensure_reader(boxed)
        return boxed
    for name in names:
        if name in BOXED:
            continue
        _ensure_plugin(name)
        accept = Image.OPEN[name][1]
        accepted = accept is None or accept(prefix)
        if isinstance(accepted, str):
            raise UnsupportedImage(f"this build of Pillow cannot read {name} images", got=accepted)
        if accepted:
            return name
    raise UnsupportedImage(
        "the bytes are not of an accepted image type",
        expected=", ".join(names),
        got=f"bytes that begin with {prefix[:8]!r}",
    )


def _ensure_plugin(name: str) -> None:
    if name not in Image.OPEN:
        Image.preinit()
    if name not in Image.OPEN:
        Image.init()
    if name not in Image.OPEN:
        raise UsageError(f"Pillow knows no image format {name}")


def _as_image_error(error: Exception, kind: str) -> ImageError:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageTooLarge(f"the {kind} has more pixels than Pillow accepts", got=str(error))
    if isinstance(error, MemoryError):
        return ImageTooLarge(f"there is not enough memory to decode the {kind}")
    return ImageError(f"the {kind} is damaged or cut short", got=str(error) or type(error).__name__)
