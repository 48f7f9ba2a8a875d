"""Files that ask for far more work than their pixels do."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from pinnace.models.errors import ImageError
from pinnace.models.image.decode import open_image


def encoded(format: str, size: tuple[int, int] = (64, 64), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, format, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    ("format", "at", "crumb"),
    [
        ("PNG", 33, png_chunk(b"abCd")),
        ("PNG", 33, png_chunk(b"tEXt", b"k\0v")),
        ("JPEG", 2, b"\xff\xec\x00\x02"),
        ("JPEG", 2, b"\xff"),
        ("GIF", 16, b"\x21\xfe\x01a\x00"),
        ("GIF", 16, b"\x00"),
    ],
)
def test_a_file_in_crumbs_is_given_up(format: str, at: int, crumb: bytes) -> None:
    image = encoded(format)
    assert open_image(image[:at] + 1_000 * crumb + image[at:]).size == (64, 64)
    with pytest.raises(ImageError, match="is damaged or cut short") as caught:
        open_image(image[:at] + 200_000 * crumb + image[at:])
    assert caught.value.got == "it takes more than 200,000 reads"


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded() -> None:
    image = encoded("JPEG", (4000, 4000), progressive=True)
    last = image[image.rfind(b"\xff\xda") : -2]
    open_image(image)
    with pytest.raises(ImageError) as caught:
        open_image(image[:-2] + 200 * last + image[-2:])
    assert caught.value.message == "the JPEG image has 210 scans"
    assert caught.value.expected == "at most 187 for 16,000,000 pixels"
