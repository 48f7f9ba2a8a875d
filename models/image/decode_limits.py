"""The bytes of a file whose sender is not trusted: bounds on the work they ask for beside pixels."""

from __future__ import annotations

import io
import struct

import numpy as np
import numpy.typing as npt
from PIL import Image

from pinnace.models.errors import ImageError, ImageTooLarge
from pinnace.models.image import pixels, resample

# Every chunk, marker, block and tag costs a few reads, and a microsecond or more of Python each. Photographs
# take tens of reads, and a PNG of 20 MB in chunks of 8 kB ten thousand.
MOST_READS = 200_000

# A scan of a progressive JPEG may take a few bytes, and passes over all pixels: about 1.5 ns for each.
# Encoders write ten scans or so.
USUAL_SCANS = 20
MOST_SCANNED_PIXELS = 3_000_000_000

# Pillow makes Python objects of a TIFF's strips and tiles, and libtiff memory for one whole tile, however
# little of it lies in the image.
MOST_TIFF_VALUES = 100_000
FREE_TILE_PIXELS = 1 << 22

# Pillow reads these in Python, pixel by pixel: about 80 ns for each.
MOST_BMP_RLE_PIXELS = 1 << 24

_IN_ONE_PIECE = (1, 2, 6, 7)  # byte, text, signed byte, undefined
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_COMPRESSION, _JPEG = 259, (6, 7)
_ROWS = 278
_STRIPS, _TILES = (273, 279), (324, 325)  # where the strips or tiles begin, and their lengths

# What Pillow holds of a pixel, by its mode; four bytes where it is not here.
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}

_START_OF_SCAN = b"\xff\xda"


class MeteredBytes(io.BytesIO):
    """Bytes that give up on a reader which takes them in crumbs: millions of empty chunks, or fill bytes."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        super().__init__(data)
        self._left = MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as `io.BytesIO` does.

        Raises:
            ValueError: it was read too often.
        """
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"it takes more than {MOST_READS:,} reads")
        return super().read(size)


def check_scans(jpeg: bytes, pixels: int) -> None:
    """Refuse a JPEG that would be passed over far more often than any encoder asks for.

    Args:
        jpeg: the file. The markers of thumbnails inside it are counted as well.
        pixels: its width times its height.

    Raises:
        ImageError: there are too many scans for its size.
    """
    built = hasattr(resample._window, "count_scans")
    scans = resample._window.count_scans(jpeg) if built else len(_places(jpeg, _START_OF_SCAN))
    if scans > USUAL_SCANS and scans * pixels > MOST_SCANNED_PIXELS:
        most = max(USUAL_SCANS, MOST_SCANNED_PIXELS // pixels)
        raise ImageError(
            f"the JPEG image has {scans} scans", expected=f"at most {most} for {pixels:,} pixels"
        )


def _places(data: bytes, pair: bytes) -> npt.NDArray[np.int64]:
    """Where a pair of two different bytes begins; several times as fast as `data.count(pair)` counts them."""
    values = np.frombuffer(data, np.uint8)
    first = np.flatnonzero(values[:-1] == pair[0])
    places: npt.NDArray[np.int64] = first[values[first + 1] == pair[1]]
    return places


def check_container(name: str, data: bytes | memoryview, max_pixels: int) -> None:
    """Refuse what Pillow would allocate memory or objects for already while it opens the file.

    Args:
        name: Pillow's name of the type.
        data: the file.
        max_pixels: the most pixels that are accepted.

    Raises:
        ImageTooLarge: a WebP has more pixels.
        ImageError: a TIFF has lists longer than any writer makes.
    """
    if name == "WEBP":
        width, height = _webp_size(data)
        if width * height > max_pixels:
            raise ImageTooLarge(
                f"the image has {width} x {height} = {width * height:,} pixels",
                expected=f"at most {max_pixels:,} pixels",
            )
    elif name == "TIFF":
        _check_tiff(data)


def check_work(image: Image.Image) -> None:
    """Refuse what Pillow's own code in Python would take long over, once the file is opened.

    Raises:
        ImageTooLarge: a BMP is compressed, and large.
    """
    count = image.width * image.height
    tiles = getattr(image, "tile", None)
    if image.format == "BMP" and tiles and tiles[0][0] == "bmp_rle" and count > MOST_BMP_RLE_PIXELS:
        raise ImageTooLarge(
            f"the compressed BMP image has {count:,} pixels", expected=f"at most {MOST_BMP_RLE_PIXELS:,}"
        )


def decoding_bytes(image: Image.Image) -> int:
    """How much memory decoding takes at the most, and making RGB of it the right way up.

    The pixels, a copy where the mode is another one or the image is turned, and what the decoder holds: the
    coefficients of a progressive JPEG, three canvases of a WebP, rows of a PNG, a list of the rows. Every
    term was measured as the peak of a process on 16 million pixels.

    Args:
        image: opened, and not loaded yet.
    """
    count = image.width * image.height
    each = float(_STORED.get(image.mode, 4))
    if image.mode != "RGB":
        each += 9 if image.mode.startswith("I") else 4
    if image.format == "JPEG" and "progressive" in image.info:
        each += 2 * _samples(image)
    each += {"WEBP": 14, "AVIF": 11, "HEIF": 9, "GIF": 2, "BMP": 2, "TIFF": 1}.get(image.format or "", 0)
    if count > FREE_TILE_PIXELS and pixels.orientation(image) != 1:
        each += 4
    return int(count * each) + 16 * image.width + 9 * image.height


def _samples(jpeg: Image.Image) -> float:
    """How many numbers a JPEG has for a pixel: 1.5 for the usual 4:2:0, 3 for 4:4:4."""
    layers = getattr(jpeg, "layer", ())
    try:
        most = max(layer[1] for layer in layers) * max(layer[2] for layer in layers)
        return float(sum(layer[1] * layer[2] for layer in layers) / most)
    except (ValueError, IndexError, TypeError, ZeroDivisionError):
        return float(len(jpeg.getbands()))


def _webp_size(data: bytes | memoryview) -> tuple[int, int]:
    """Width and height from the first chunk of a WebP; zeros where it has none, which libwebp refuses."""
    head = bytes(data[:30])
    kind = head[12:16]
    if len(head) < 30:
        return 0, 0
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _check_tiff(data: bytes | memoryview) -> None:
    """Look at the first directory of a TIFF: entries of (tag, type, count, value)."""
    order = "<" if bytes(data[:2]) == b"II" else ">"
    big = struct.unpack(order + "H", data[2:4])[0] == 43
    start, number, entry = ("Q", "Q", "HHQQ") if big else ("I", "H", "HHII")
    try:
        at = struct.unpack_from(order + start, data, 8 if big else 4)[0]
        entries = struct.unpack_from(order + number, data, at)[0]
        at += struct.calcsize(order + number)
        size = struct.calcsize(order + entry)
        found = [
            struct.unpack_from(order + entry, data, at + index * size)
            for index in range(min(entries, MOST_TIFF_VALUES))
        ]
    except (struct.error, OverflowError):
        return  # cut short, as Pillow will say
    for tag, kind, count, _ in found:
        if kind not in _IN_ONE_PIECE and count > MOST_TIFF_VALUES:
            raise ImageError(
                f"the TIFF image has {count:,} values for tag {tag}", expected=f"at most {MOST_TIFF_VALUES:,}"
            )


def check_tiles(image: Image.Image) -> None:
    """Refuse a TIFF whose tiles are far larger than itself: memory is allocated for the whole of one.

    Args:
        image: opened, and not loaded yet.

    Raises:
        ImageTooLarge: they are.
    """
    tags = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return
    width, height = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)
    sizes = isinstance(width, int) and isinstance(height, int)
    most = max(4 * image.width * image.height, FREE_TILE_PIXELS)
    if not sizes or width * height > most:
        raise ImageTooLarge(
            "the TIFF image has tiles far larger than itself",
            expected=f"at most {most:,} pixels",
            got=f"{width} x {height}",
        )


def check_tiff_scans(image: Image.Image, data: bytes) -> None:
    """Refuse a TIFF of JPEGs that would be passed over as `check_scans` refuses it for one JPEG.

    The strips or tiles of a TIFF may all be the same bytes of the file, so they are counted one by one.

    Args:
        image: opened, and not loaded yet.
        data: the file.

    Raises:
        ImageError: there are too many scans.
    """
    tags = getattr(image, "tag_v2", None)
    if tags is None or tags.get(_COMPRESSION) not in _JPEG:
        return
    at, lengths = _TILES if _TILES[0] in tags else _STRIPS
    starts = _numbers(tags.get(at))
    sizes = _numbers(tags.get(lengths))
    places = _places(data, _START_OF_SCAN)
    if len(sizes) == len(starts):
        scans = np.searchsorted(places, starts + sizes) - np.searchsorted(places, starts)
    else:
        scans = np.full(len(starts), len(places))
    width = _one(tags.get(_TILE_WIDTH), image.width)
    height = _one(tags.get(_TILE_LENGTH), min(_one(tags.get(_ROWS), image.height), image.height))
    if scans.max(initial=0) > USUAL_SCANS and int(scans.sum()) * width * height > MOST_SCANNED_PIXELS:
        raise ImageError(
            f"the TIFF image has {int(scans.sum())} scans of {width} x {height} pixels",
            expected=f"at most {MOST_SCANNED_PIXELS:,} pixels in all of them",
        )


def _numbers(value: object) -> npt.NDArray[np.float64]:
    values = value if isinstance(value, tuple) else (value,)
    return np.array([float(one) for one in values if isinstance(one, int)], np.float64)


def _one(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise
