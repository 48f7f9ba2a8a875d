"""A window of a resized image, equal to the bit to resizing the whole image with Pillow and cropping it.

Pillow computes every pixel of the resized image. For a 1x60000 image and a shortest edge of 256 that is
256x15,360,000, of which a model looks at 224x224. Where the whole would be large, this module computes
the window alone, with the arithmetic of Pillow's `Resample.c` and `Geometry.c`:

- two passes, each rounded to uint8; a pass whose size does not change is skipped; the horizontal one comes
  first, except that Pillow 13 takes the vertical one first where the height shrinks far more than the width;
- filter weights in double precision, normalised, then rounded to fixed point with 22 fractional bits;
- for `nearest`, source positions that are summed up one step at a time, rounding errors included.

`Image.resize(size, box=...)` is no way to do it: it takes the box as four float32 numbers.

Where the module `_window` was built, it computes the window of RGB images with the two usual filters, by the
same arithmetic in C.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from pinnace.models.image.filters import FILTERS, Floats, Interpolation

_REVISION = 3

try:
    from pinnace.models.image import _window as _window
except ImportError:  # not built: what it does is done below
    _window = None  # type: ignore[assignment]
else:
    if getattr(_window, "REVISION", 1) != _REVISION:  # built from another source than this
        _window = None  # type: ignore[assignment]

Pixels = npt.NDArray[np.uint8]

COMPILED = ("bilinear", "bicubic")
"""The filters that the compiled module has."""

_PILLOW_CHOOSES_ORDER = int(PIL.__version__.split(".")[0]) >= 13
_PRECISION_BITS = 32 - 8 - 2
_PIXELS_PER_WEIGHT = 2
_FREE_PIXELS = 1 << 20
_BLOCK_PIXELS = 1 << 20
_MOST_COMPILED_PIXELS = 1 << 22


class Window(NamedTuple):
    """A rectangle inside the resized image, in its pixels."""

    top: int
    left: int
    height: int
    width: int


def resize_window(
    image: Image.Image, size: tuple[int, int], window: Window, interpolation: Interpolation
) -> Pixels:
    """Resize `image` (mode `RGB` or `L`) to `size` (height, width) and keep `window` of the result.

    Returns:
        uint8, shape (window.height, window.width, channels), contiguous and writable. Memory and time do
        not grow with `size`, only with the source and the window.
    """
    height, width = size
    if (
        image.size != (width, height)
        and (compiled := _compiled(image, size, window, interpolation)) is not None
    ):
        return compiled
    if image.size == (width, height) or _whole_is_small(image, size, window, interpolation):
        return _crop(_resized(image, size, interpolation), window)
    return _window_alone(image, size, window, interpolation)


def resize_and_look_up(
    image: Image.Image, size: tuple[int, int], window: Window, interpolation: Interpolation, table: bytes
) -> npt.NDArray[np.float32] | None:
    """As `resize_window`, with a number from a table for each value; by the compiled module alone.

    Args:
        image: as there, and so are `size`, `window` and `interpolation`.
        table: float32, shape (3, 256), for each channel.

    Returns:
        float32, shape (3, window.height, window.width); None where the module is missing, or not for this
        image.
    """
    height, width = size
    if image.size == (width, height) or (made := _made(image, size, window, interpolation, table)) is None:
        return None
    return np.frombuffer(made, np.float32).reshape(3, window.height, window.width)


def _compiled(
    image: Image.Image, size: tuple[int, int], window: Window, interpolation: Interpolation
) -> Pixels | None:
    """The window by the compiled module; None where that is missing, or not for this image."""
    made = _made(image, size, window, interpolation)
    return None if made is None else np.frombuffer(made, np.uint8).reshape(window.height, window.width, 3)


def _made(
    image: Image.Image, size: tuple[int, int], window: Window, interpolation: Interpolation, *table: bytes
) -> bytearray | None:
    """What the compiled module makes; None where it is missing, or not for this image.

    It reads the image's own memory, which Pillow lends (since 11.2) where it is in one piece.
    """
    if _window is None or image.mode != "RGB" or interpolation not in COMPILED:
        return None
    if not compiled_holds((image.height, image.width), window):
        return None
    try:
        _, array = image.__arrow_c_array__()
    except (AttributeError, ValueError):
        return None
    return _window.resize(
        array,
        (image.height, image.width),
        size,
        window,
        interpolation == "bicubic",
        vertical_first((image.height, image.width), size),
        *table,
    )


def compiled_holds(in_size: tuple[int, int], window: Window) -> bool:
    """Whether the compiled module is for so large an image (height, width).

    As many pixels as an edge of it is long, times one of the window, are held between the passes.
    """
    return max(in_size) * max(window.height, window.width) <= _MOST_COMPILED_PIXELS


def _whole_is_small(
    image: Image.Image, size: tuple[int, int], window: Window, interpolation: Interpolation
) -> bool:
    """Whether what Pillow allocates for the whole result is in proportion to the source and the window."""
    height, width = size
    rows_first = vertical_first((image.height, image.width), size)
    between = image.width * height if rows_first else width * image.height
    support = FILTERS[interpolation][1] if interpolation in FILTERS else 0.0
    weights = 2 * support * (max(image.height, height) + max(image.width, width))
    pixels = between + width * height + weights * _PIXELS_PER_WEIGHT
    return pixels <= image.width * image.height + 8 * window.height * window.width + _FREE_PIXELS


def vertical_first(in_size: tuple[int, int], size: tuple[int, int]) -> bool:
    """The order of the passes: `ImagingResampleInner` of `Resample.c` since Pillow 13."""
    rows_less, columns_less = in_size[0] - size[0], in_size[1] - size[1]
    return _PILLOW_CHOOSES_ORDER and rows_less > 0 and rows_less > 2 * columns_less


def _resized(image: Image.Image, size: tuple[int, int], interpolation: Interpolation) -> Image.Image:
    height, width = size
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling[interpolation.upper()])


def _crop(image: Image.Image, window: Window) -> Pixels:
    if window != (0, 0, image.height, image.width):
        right, bottom = window.left + window.width, window.top + window.height
        image = image.crop((window.left, window.top, right, bottom))
    return np.array(image).reshape(window.height, window.width, len(image.getbands()))


def _window_alone(
    image: Image.Image, size: tuple[int, int], window: Window, interpolation: Interpolation
) -> Pixels:
    if interpolation == "nearest":
        return _nearest_window(image, size, window)
    return _filtered_window(image, size, window, interpolation)


# --- filters with a support -------------------------------------------------------------------------------


class _Axis(NamedTuple):
    """Pixels `start` .. `start + length` of an axis that is resized, and where each of them comes from.

    The arithmetic is that of `precompute_coeffs` of `Resample.c`. Weights are computed when they are used:
    for an axis that shrinks there are several of them for each pixel of the source.
    """

    in_size: int
    out_size: int
    start: int
    length: int
    interpolation: Interpolation

    def span(self, at: int) -> tuple[int, int]:
        """The source pixels that pixel `at` of the result is made of: the first and one past the last."""
        if self.in_size == self.out_size:
            return at, at + 1
        center, scale = self._center(at)
        support = FILTERS[self.interpolation][1] * scale
        return max(int(center - support + 0.5), 0), min(int(center + support + 0.5), self.in_size)

    def extent(self) -> tuple[int, int]:
        """The source pixels that any pixel is made of."""
        return self.span(self.start)[0], self.span(self.start + self.length - 1)[1]

    def weights(self, at: int) -> Floats:
        """The weights of `span(at)`, whole numbers in units of 2^-22."""
        center, scale = self._center(at)
        distances = (np.arange(*self.span(at), dtype=np.float64) - center + 0.5) * (1.0 / scale)
        return _fixed_point(FILTERS[self.interpolation][0](distances))

    def _center(self, at: int) -> tuple[float, float]:
        """The centre of pixel `at` in the source, and by how much the filter is stretched."""
        scale = float(np.float32(self.in_size)) / self.out_size
        return (at + 0.5) * scale, max(scale, 1.0)


def _filtered_window(
    image: Image.Image, size: tuple[int, int], window: Window, interpolation: Interpolation
) -> Pixels:
    """The window, in blocks of columns, so that tall sources need little memory between the passes."""
    rows = _Axis(image.height, size[0], window.top, window.height, interpolation)
    columns = _Axis(image.width, size[1], window.left, window.width, interpolation)
    top, bottom = rows.extent()
    rows_first = vertical_first((image.height, image.width), size)
    result = np.empty((window.height, window.width, len(image.getbands())), np.uint8)
    step = max(1, _BLOCK_PIXELS // (window.height if rows_first else bottom - top))
    for start in range(0, window.width, step):
        block = columns._replace(start=window.left + start, length=min(step, window.width - start))
        left, right = block.extent()
        pixels = _crop(image, Window(top, left, bottom - top, right - left))
        if rows_first:
            pixels = _pass(_pass(pixels, 0, rows, top), 1, block, left)
        else:
            pixels = _pass(_pass(pixels, 1, block, left), 0, rows, top)
        result[:, start : start + step] = pixels
    return result


def _pass(pixels: Pixels, dimension: int, axis: _Axis, offset: int) -> Pixels:
    """Resample one dimension of pixels that start at position `offset` of `axis`.

    Products and sums are whole numbers below 2^53: float64 holds them exactly, summed in any order.
    """
    if axis.in_size == axis.out_size:
        return pixels
    source = pixels.swapaxes(0, dimension)
    lines = source.reshape(len(source), -1)
    sums = np.empty((axis.length, lines.shape[1]))
    for at, row in enumerate(sums, axis.start):
        first, stop = axis.span(at)
        np.dot(axis.weights(at), lines[first - offset : stop - offset].astype(np.float64), out=row)
    rounded: Floats = np.floor((sums + 2.0 ** (_PRECISION_BITS - 1)) * 2.0**-_PRECISION_BITS)
    shape = (axis.length, *source.shape[1:])
    result: Pixels = rounded.clip(0, 255).astype(np.uint8).reshape(shape).swapaxes(0, dimension)
    return result


def _fixed_point(weights: Floats) -> Floats:
    """Normalised weights as integers: `normalize_coeffs_8bpc` of `Resample.c`."""
    total = np.add.accumulate(weights)[-1]
    if total != 0.0:
        weights = weights / total
    fixed: Floats = np.trunc(np.copysign(0.5, weights) + weights * 2.0**_PRECISION_BITS)
    return fixed


# --- nearest ----------------------------------------------------------------------------------------------


def _nearest_window(image: Image.Image, size: tuple[int, int], window: Window) -> Pixels:
    """The window by `ImagingScaleAffine` of `Geometry.c`, where positions past the source are black."""
    rows = _positions(image.height, size[0], window.top, window.height)
    columns = _positions(image.width, size[1], window.left, window.width)
    top, left = int(rows.min()), int(columns.min())
    inside_rows, inside_columns = rows[rows < image.height], columns[columns < image.width]
    result = np.zeros((window.height, window.width, len(image.getbands())), np.uint8)
    if inside_rows.size and inside_columns.size:
        height, width = int(inside_rows.max()) + 1 - top, int(inside_columns.max()) + 1 - left
        source = _crop(image, Window(top, left, height, width))
        picked = source[inside_rows - top][:, inside_columns - left]
        result[: len(inside_rows), : len(inside_columns)] = picked
    return result


def _positions(in_size: int, out_size: int, start: int, count: int) -> npt.NDArray[np.int64]:
    """The source position of pixels `start` .. `start + count`; it may reach `in_size` by rounding."""
    step = float(np.float32(in_size)) / out_size
    summands = np.full(count, step)
    summands[0] = _add_repeatedly(step * 0.5, step, start)
    return np.add.accumulate(summands).astype(np.int64)


def _add_repeatedly(value: float, step: float, times: int) -> float:
    """`value` after `times` floating-point additions of a positive `step`, in few operations.

    Between two powers of two the floats are evenly spaced, so that adding `step` advances by the same
    amount each time, but for the first addition of a tie, which lands on an even multiple of the spacing.
    """
    while times >= 2:
        first, second = value + step, value + step + step
        jumps, advance = 0, second - first
        exponent = math.frexp(second)[1]
        if exponent == math.frexp(value)[1]:
            room = int((math.ldexp(1.0, exponent) - second) / advance) - 1
            jumps = max(0, min(room, times - 2))
        value, times = second + jumps * advance, times - 2 - jumps
    return value + step if times else value
