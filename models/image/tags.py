"""Tags of TIFF, EXIF and MPF: directories of (tag, type, count, value or where it begins).

A tag may stand for any part of the file, and thousands of tags for the same part. Before version 13, Pillow
keeps a copy of what each of them stands for: a JPEG of 436 kB took 1.5 GB.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from PIL import Image, JpegImagePlugin

from pinnace.models.errors import ImageError

Entry: TypeAlias = tuple[int, int, int, int]

# Broken files repeat a thing or two. What stands for more than this is made to.
MOST_TIMES = 4
FREE_BYTES = 1 << 20

_MOST_ENTRIES = 100_000
_BYTES_EACH = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}

_EXIF_PREFIX = re.compile(b"^(?:Exif\x00\x00){1,2}")
_TEXT_OF_EXIF = "Raw profile type exif"
_MARKER = re.compile(rb"\xff+([^\xff])", re.DOTALL)
# Each costs Pillow three reads or more, and it is given fewer than that.
_MOST_SEGMENTS = 100_000
_APP1, _APP2, _START_OF_SCAN = 0xE1, 0xE2, 0xDA


def directory(data: bytes) -> Sequence[Entry]:
    """The entries of the first directory; none where it is cut short, as Pillow will say."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        big = struct.unpack_from(order + "H", data, 2)[0] == 43
        start, number, entry = ("Q", "Q", "HHQQ") if big else ("I", "H", "HHII")
        at = struct.unpack_from(order + start, data, 8 if big else 4)[0]
        count = min(struct.unpack_from(order + number, data, at)[0], _MOST_ENTRIES)
    except (struct.error, OverflowError):
        return []
    at += struct.calcsize(order + number)
    size = struct.calcsize(order + entry)
    whole = (len(data) - at) // size
    if whole < count:
        return []
    return list(struct.iter_unpack(order + entry, data[at : at + count * size]))


def check_claims(entries: Sequence[Entry], size: int, what: str) -> None:
    """Refuse tags that stand for far more than there is.

    Args:
        entries: of one directory.
        size: bytes of what the directory is in.
        what: what that is, for the message.

    Raises:
        ImageError: they do.
    """
    claimed = sum(
        min(count * _BYTES_EACH[kind], max(0, size - at))
        for _, kind, count, at in entries
        if kind in _BYTES_EACH and count * _BYTES_EACH[kind] > 8
    )
    if claimed > MOST_TIMES * size + FREE_BYTES:
        raise ImageError(f"the tags of the {what} stand for {claimed:,} bytes", got=f"{size:,} bytes")


def check_part(part: bytes) -> None:
    """`check_claims` of EXIF or MPF, from its byte order on; empty where there is none."""
    check_claims(directory(part), len(part), "EXIF")


def parts_of_jpeg(data: bytes) -> Iterator[bytes]:
    """The EXIF of a JPEG, which Pillow puts together of all segments of it, and every MPF.

    They are found as Pillow finds them, past bytes between segments and markers that stand alone.
    """
    exif = []
    at = 2
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            break
        marker, at = found[1][0], found.end()
        handler = JpegImagePlugin.MARKER.get(0xFF00 | marker, (None, None, None))[2]
        if marker == _START_OF_SCAN:
            break
        if handler is None:
            continue
        begin, at = at + 2, at + max(2, int.from_bytes(data[at : at + 2], "big"))
        if marker == _APP1 and data.startswith(b"Exif\0\0", begin):
            exif.append(data[begin + 6 : at])
        elif marker == _APP2 and data.startswith(b"MPF\0", begin):
            yield data[begin + 4 : at]
    yield b"".join(exif)


def exif_of(image: Image.Image) -> bytes:
    """The EXIF of an image that was opened, from its byte order on; empty where it has none."""
    exif = image.info.get("exif")
    text = image.info.get(_TEXT_OF_EXIF)
    if not isinstance(exif, bytes) and isinstance(text, str):
        try:
            exif = bytes.fromhex("".join(text.split("\n")[3:]))
        except ValueError:
            return b""
    return _EXIF_PREFIX.sub(b"", exif) if isinstance(exif, bytes) else b""
