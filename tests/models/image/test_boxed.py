"""AVIF and HEIC: read like the others, and no more work than their size says."""

from __future__ import annotations

import importlib.util
import io
import struct
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pinnace.models.errors import ImageError, ImageTooLarge, UnsupportedImage
from pinnace.models.image import boxed
from pinnace.models.image.avif import check_avif
from pinnace.models.image.boxed import boxed_format
from pinnace.models.image.decode import open_image
from pinnace.models.image.pixels import orientation, upright
from support.errors import error_of

needs_heif = pytest.mark.skipif(
    importlib.util.find_spec("pillow_heif") is None, reason="needs an extra: pip install pillow-heif"
)
KINDS = ["AVIF", pytest.param("HEIF", marks=needs_heif)]


def encoded(kind: str, size: tuple[int, int] = (64, 48), mode: str = "RGB", **options: object) -> bytes:
    if kind == "HEIF":
        boxed.ensure_reader("HEIF")
    values = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).resize(size).convert(mode).save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def told(data: bytes, size: tuple[int, int]) -> bytes:
    """The file with another size in its header."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", *size) + data[at + 8 :]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_it_is_read_like_any_other(kind: str, mode: str) -> None:
    data = encoded(kind, mode=mode)
    reserved: list[int] = []
    image = open_image(data, reserve=reserved.append)
    assert image.size == (64, 48)
    exact = np.asarray(open_image(encoded("PNG", mode="L")), np.int16)
    lossy = np.asarray(image.convert("L"), np.int16) - exact
    assert np.abs(lossy).mean() < 12
    assert reserved[0] > 64 * 48 * 10


@pytest.mark.parametrize("kind", KINDS)
def test_the_orientation_counts(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = open_image(encoded(kind, exif=exif.tobytes()))
    assert upright(image, orientation(image)).size == (48, 64)


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_pixels_are_refused_before_they_are_decoded(kind: str) -> None:
    error = error_of(ImageTooLarge, open_image, encoded(kind, (500, 400)), max_pixels=199_999)
    assert error.message == "the image has 500 x 400 = 200,000 pixels"


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_says_less_than_is_there(kind: str) -> None:
    data = encoded(kind, (2000, 1500))
    error = error_of(ImageError, open_image, told(data, (20, 15)), max_pixels=1_000_000)
    if kind == "AVIF":
        assert error.message == "the AVIF image says 20 x 15 pixels, and its frames have 3,000,000"
    else:
        assert error.message == "the HEIF image is damaged or cut short"
        assert "exceeds the maximum image size" in str(error.got)


def test_a_sequence_is_refused() -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "AVIF", save_all=True, append_images=frames[1:])
    error = error_of(UnsupportedImage, open_image, file.getvalue())
    assert error.message == "the AVIF image is a sequence"


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4", "4:0:0"])
@pytest.mark.parametrize("size", [(1, 1), (65, 31), (1024, 768)])
def test_every_avif_that_pillow_writes_is_taken(subsampling: str, size: tuple[int, int]) -> None:
    assert open_image(encoded("AVIF", size, subsampling=subsampling, speed=9)).size == size
    assert open_image(encoded("AVIF", size, mode="RGBA", quality=100, speed=9)).size == size


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_is_an_image_error_or_none(data: st.DataObject) -> None:
    damaged = bytearray(encoded("AVIF"))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, min(len(damaged), 400) - 1))] = data.draw(st.integers(0, 255))
    message = ""
    try:
        check_avif(memoryview(bytes(damaged)), 64, 48)
    except ImageError as error:
        message = error.message
    assert "\n" not in message


def test_brands_tell_them_apart() -> None:
    def start(*brands: bytes) -> bytes:
        body = brands[0] + b"\0\0\0\0" + b"".join(brands[1:])
        return struct.pack(">I", 8 + len(body)) + b"ftyp" + body + b"\0\0\0\x08metaavif"

    assert boxed_format(start(b"avif", b"mif1")) == "AVIF"
    assert boxed_format(start(b"mif1", b"miaf", b"avif")) == "AVIF"
    assert boxed_format(start(b"mif1", b"heic")) == "HEIF"
    assert boxed_format(start(b"heix")) == "HEIF"
    assert boxed_format(start(b"isom", b"mp42")) is None
    assert boxed_format(b"\x89PNG\r\n\x1a\n") is None
    assert boxed_format(b"") is None


def test_a_heic_without_the_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    boxed.ensure_reader.cache_clear()
    try:
        error = error_of(UnsupportedImage, open_image, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    finally:
        boxed.ensure_reader.cache_clear()
    assert error.message == "HEIC images are read by a package that is not installed here"
    assert error.hint == "pip install pillow-heif"
