"""The bytes of a file whose sender is not trusted: bounds on the work they ask for beside pixels."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

from pinnace.models.errors import ImageError, ImageTooLarge
from pinnace.models.image import pixels, resample, tags

# Every chunk, marker, block and tag costs a few reads, and a microsecond or more of Python each. Photographs
# take tens of reads, and a PNG of 20 MB in chunks of 8 kB ten thousand. Before version 13, Pillow copied the
# whole comment of a GIF for each block of it.
MOST_READS = 200_000
MOST_GIF_READS = 20_000

# A scan of a progressive JPEG may take a few bytes, and passes over all pixels: about 1.5 ns for each.
# Encoders write ten scans or so.
USUAL_SCANS = 20
MOST_SCANNED_PIXELS = 3_000_000_000

# Pillow makes Python objects of a TIFF's strips and tiles, and libtiff memory for one whole tile, however
# little of it lies in the image.
MOST_TIFF_VALUES = 100_000
FREE_TILE_PIXELS = 1 << 22

# Pillow reads these in Python, pixel by pixel: about 80 ns for each. A file may skip 255 rows at once, and
# before version 13 they were filled also where the image has only one.
MOST_BMP_RLE_PIXELS = 1 << 24
_MOST_ROWS_SKIPPED = 255

_IN_ONE_PIECE = (1, 2, 6, 7)  # byte, text, signed byte, undefined
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_COMPRESSION, _UNCOMPRESSED, _JPEG = 259, 1, (6, 7)
_PHOTOMETRIC, _YCBCR = 262, 6
_BITS, _SAMPLES, _ROWS = 258, 277, 278
_PLANES, _SEPARATE = 284, 2
_STRIPS, _TILES = (273, 279), (324, 325)  # where the strips or tiles begin, and their lengths

# What Pillow holds of a pixel, by its mode; four bytes where it is not here.
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}

_START_OF_SCAN = b"\xff\xda"


class MeteredBytes(io.BytesIO):
    """Bytes that give up on a reader which takes them in crumbs: millions of empty chunks, or fill bytes.

    Attributes:
        reads_left: how often they may still be read.
    """

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        super().__init__(data)
        self.reads_left = MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as `io.BytesIO` does.

        Raises:
            ValueError: it was read too often.
        """
        self.reads_left -= 1
        if self.reads_left < 0:
            raise ValueError("it takes too many reads")
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


def check_container(name: str, data: bytes, max_pixels: int) -> None:
    """Refuse what Pillow would allocate memory or objects for already while it opens the file.

    Args:
        name: Pillow's name of the type.
        data: the file.
        max_pixels: the most pixels that are accepted.

    Raises:
        ImageTooLarge: a WebP has more pixels.
        ImageError: a TIFF has lists longer than any writer makes, or tags stand for far more than there is.
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
    elif name == "JPEG":
        for part in tags.parts_of_jpeg(data):
            tags.check_part(part)


def check_work(image: Image.Image) -> None:
    """Refuse what Pillow's own code in Python would take long over, once the file is opened.

    Raises:
        ImageTooLarge: a BMP is compressed, and large.
        ImageError: the EXIF has tags that stand for far more than there is.
    """
    if image.format != "JPEG":  # whose EXIF was looked at before Pillow did
        tags.check_part(tags.exif_of(image))
    count = image.width * image.height
    tiles = getattr(image, "tile", None)
    if image.format == "BMP" and tiles and tiles[0][0] == "bmp_rle":
        if count > MOST_BMP_RLE_PIXELS:
            raise ImageTooLarge(
                f"the compressed BMP image has {count:,} pixels", expected=f"at most {MOST_BMP_RLE_PIXELS:,}"
            )
        if image.width * _MOST_ROWS_SKIPPED > MOST_BMP_RLE_PIXELS:
            raise ImageTooLarge(
                f"the compressed BMP image is {image.width:,} pixels wide",
                expected=f"at most {MOST_BMP_RLE_PIXELS // _MOST_ROWS_SKIPPED:,}",
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
    return int(count * each) + 16 * image.width + 9 * image.height + _piece_bytes(image)


def _piece_bytes(image: Image.Image) -> int:
    """What the largest strip or tile of a TIFF takes, beside the pixels that are made of it."""
    values = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or values is None or values.get(_COMPRESSION) == _UNCOMPRESSED:
        return 0
    width, height = _piece(image, values)
    if values.get(_PHOTOMETRIC) == _YCBCR:
        return 4 * width * height  # libtiff makes RGBA of these
    bits = _numbers(values.get(_BITS, 1))
    samples = 1 if values.get(_PLANES) == _SEPARATE else _one(values.get(_SAMPLES), 1)
    return int(width * height * samples * bits.max(initial=1)) // 8


def _piece(image: Image.Image, values: Mapping[int, object]) -> tuple[int, int]:
    """Width and height of a strip or tile of a TIFF."""
    width = _one(values.get(_TILE_WIDTH), image.width)
    return width, _one(values.get(_TILE_LENGTH), min(_one(values.get(_ROWS), image.height), image.height))


def _samples(jpeg: Image.Image) -> float:
    """How many numbers a JPEG has for a pixel: 1.5 for the usual 4:2:0, 3 for 4:4:4."""
    layers = getattr(jpeg, "layer", ())
    try:
        most = max(layer[1] for layer in layers) * max(layer[2] for layer in layers)
        return float(sum(layer[1] * layer[2] for layer in layers) / most)
    except (ValueError, IndexError, TypeError, ZeroDivisionError):
        return float(len(jpeg.getbands()))


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height from the first chunk of a WebP; zeros where it has none, which libwebp refuses."""
    head = data[:30]
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


def _check_tiff(data: bytes) -> None:
    """Look at the first directory of a TIFF."""
    entries = tags.directory(data)
    for tag, kind, count, _ in entries:
        if kind not in _IN_ONE_PIECE and count > MOST_TIFF_VALUES:
            raise ImageError(
                f"the TIFF image has {count:,} values for tag {tag}", expected=f"at most {MOST_TIFF_VALUES:,}"
            )
    tags.check_claims(entries, len(data), "TIFF image")


def check_tiles(image: Image.Image) -> None:
    """Refuse a TIFF whose tiles are far larger than itself: memory is allocated for the whole of one.

    Args:
        image: opened, and not loaded yet.

    Raises:
        ImageTooLarge: they are.
    """
    values = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or values is None:
        return
    width, height = values.get(_TILE_WIDTH, 0), values.get(_TILE_LENGTH, 0)
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
    values = getattr(image, "tag_v2", None)
    if values is None or values.get(_COMPRESSION) not in _JPEG:
        return
    at, lengths = _TILES if _TILES[0] in values else _STRIPS
    starts = _numbers(values.get(at))
    sizes = _numbers(values.get(lengths))
    places = _places(data, _START_OF_SCAN)
    if len(sizes) == len(starts):
        scans = np.searchsorted(places, starts + sizes) - np.searchsorted(places, starts)
    else:
        scans = np.full(len(starts), len(places))
    width, height = _piece(image, values)
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
