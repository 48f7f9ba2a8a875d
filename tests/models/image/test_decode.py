"""Opening images: every kind of source, every way to be wrong, and the sentence for it."""

from __future__ import annotations

import functools
import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pinnace.models.errors import ImageError, ImageTooLarge, UnsupportedImage, UsageError
from pinnace.models.image.decode import FORMATS as ALL
from pinnace.models.image.decode import open_image
from pinnace.models.image.preprocess import Preprocess
from support.errors import error_of

FORMATS = [kind for kind in ALL if kind != "HEIF"]  # which is an extra; test_boxed.py looks at it
PIXELS = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT"


refused = functools.partial(error_of, ImageError, open_image)


# --- what is accepted -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_and_files_of_every_format(kind: str, tmp_path: Path) -> None:
    data = encoded(kind)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    path = tmp_path / "named.wrongly"
    path.write_bytes(data)
    for source in (data, bytearray(data), memoryview(data), path, str(path)):
        image = open_image(source)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), expected)


def test_lossless_pixels_are_the_pixels() -> None:
    for kind in ("PNG", "BMP", "TIFF"):
        np.testing.assert_array_equal(np.asarray(open_image(encoded(kind))), PIXELS)


def test_the_first_frame_of_a_gif_and_of_a_tiff() -> None:
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    for kind in ("GIF", "TIFF"):
        data = encoded(kind, frames[0], save_all=True, append_images=frames[1:])
        assert np.asarray(open_image(data).convert("L")).tolist() == [[10] * 8] * 8


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_tiff_from_a_file_that_is_gone_is_upright(
    orientation: int, compression: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "image.tiff"
    Image.fromarray(PIXELS).save(path, compression=compression, tiffinfo={0x0112: orientation})
    image = open_image(path)
    path.unlink()
    crop = Preprocess(None, "nearest", None, "RGB", (0.0,) * 3, (1.0,) * 3).crop_uint8(image)
    np.testing.assert_array_equal(crop, PIXELS if orientation == 1 else np.rot90(PIXELS, -1))


@pytest.mark.parametrize("shape", [(37, 53), (37, 53, 3), (37, 53, 4), (1, 1)])
def test_arrays(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(np.asarray(open_image(array)), array)
    np.testing.assert_array_equal(np.asarray(open_image(array[::-1])), array[::-1])


def test_a_pillow_image_is_loaded_and_returned_itself() -> None:
    image = Image.open(io.BytesIO(encoded("JPEG")))
    assert open_image(image) is image
    assert image.getpixel((0, 0)) is not None


def test_many_threads() -> None:
    sources = [encoded(kind) for kind in FORMATS] * 4
    results: list[tuple[int, int]] = []

    def work(data: bytes) -> None:
        results.append(open_image(data).size)

    threads = [threading.Thread(target=work, args=(data,)) for data in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(53, 37)] * len(sources)


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", [b"", bytearray()])
def test_nothing(empty: bytes) -> None:
    error = refused(empty)
    assert (type(error), str(error)) == (ImageError, "the image is empty")


@pytest.mark.parametrize(
    "data",
    [b"hello world", b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/'/>", b"\0" * 100, b"\xff"],
)
def test_bytes_of_no_accepted_type(data: bytes) -> None:
    error = refused(data)
    assert type(error) is UnsupportedImage
    assert str(error) == (
        "the bytes are not of an accepted image type\n"
        "  expected: JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIF\n"
        f"  got: bytes that begin with {data[:8]!r}"
    )


def test_a_type_that_is_switched_off() -> None:
    error = refused(encoded("GIF"), formats=("png", "JPEG"))
    assert str(error) == (
        "the bytes are not of an accepted image type\n"
        "  expected: PNG, JPEG\n"
        "  got: bytes that begin with b'GIF87a5\\x00'"
    )


def test_another_type_may_be_accepted() -> None:
    assert open_image(encoded("PPM"), formats=("PPM",)).size == (53, 37)
    with pytest.raises(UsageError, match=r"^Pillow knows no image format NOSUCH$"):
        open_image(b"x", formats=("nosuch",))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize("kind", FORMATS)
def test_an_image_that_is_cut_short(kind: str) -> None:
    data = encoded(kind)
    for length in (len(data) // 2, len(data) // 5, 20):
        error = refused(data[:length])
        assert type(error) is ImageError
        assert error.message == f"the {kind} image is damaged or cut short"
        assert error.got


def test_the_whole_message_of_a_damaged_image() -> None:
    data = encoded("JPEG")
    assert str(refused(data[: len(data) // 2])).startswith(
        "the JPEG image is damaged or cut short\n  got: image file is truncated ("
    )
    assert str(refused(b"BM" + b"\0" * 60)) == (
        "the BMP image is damaged or cut short\n  got: Unsupported BMP header type (0)"
    )


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(FORMATS))
def test_damage_is_an_image_or_an_image_error(data: st.DataObject, kind: str) -> None:
    damaged = bytearray(encoded(kind, Image.fromarray(PIXELS[:9, :11])))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    message = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            open_image(bytes(damaged), max_pixels=1_000_000)
        except ImageError as error:
            message = error.message
    assert "\n" not in message


@settings(max_examples=50, deadline=None)
@given(tail=st.binary(max_size=200), kind=st.sampled_from(FORMATS))
def test_a_true_beginning_and_any_end(tail: bytes, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(encoded(kind)[:16] + tail, max_pixels=1_000_000)


def test_too_many_pixels_are_refused_before_anything_is_decoded() -> None:
    error = refused(png_header(20_000, 6_000))
    assert type(error) is ImageTooLarge
    assert str(error) == (
        "the image has 20000 x 6000 = 120,000,000 pixels\n  expected: at most 100,000,000 pixels"
    )
    assert open_image(PIXELS, max_pixels=37 * 53).size == (53, 37)
    for source in (PIXELS, Image.fromarray(PIXELS), encoded("PNG")):
        assert str(refused(source, max_pixels=37 * 53 - 1)) == (
            "the image has 53 x 37 = 1,961 pixels\n  expected: at most 1,960 pixels"
        )


@pytest.mark.parametrize("kind", FORMATS)
def test_pillows_own_limit_neither_warns_nor_counts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    data = encoded(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(data).size == (53, 37)
        assert warnings.filters[0][0] == "error"
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_pillows_hard_limit_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    error = refused(encoded("TIFF"))
    assert type(error) is ImageTooLarge
    assert str(error) == (
        "the TIFF image has more pixels than Pillow accepts\n"
        "  got: Image size (1961 pixels) exceeds limit of 1000 pixels, "
        "could be decompression bomb DOS attack."
    )


@pytest.mark.parametrize(
    "raised", [OSError, SyntaxError, ValueError, struct.error, EOFError, zlib.error, IndexError]
)
def test_whatever_pillow_raises(raised: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise raised("why")

    data = encoded("PNG")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    assert str(refused(data)) == "the PNG image is damaged or cut short\n  got: why"


def test_memory_that_does_not_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise MemoryError

    data = encoded("PNG")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    error = refused(data)
    assert type(error) is ImageTooLarge
    assert str(error) == "there is not enough memory to decode the PNG image"


def test_files_that_are_none(tmp_path: Path) -> None:
    assert str(refused(tmp_path / "none.png")) == f"there is no file {tmp_path / 'none.png'}"
    assert str(refused(tmp_path)) == f"{tmp_path} is a directory, not an image file"
    (tmp_path / "file").touch()
    assert str(refused(tmp_path / "file")) == "the image is empty"
    assert (
        refused(tmp_path / "file" / "below").message
        == f"the file {tmp_path / 'file' / 'below'} cannot be read"
    )
    assert str(refused("a\0b")) == "the file a\0b cannot be read\n  got: embedded null byte"


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_arrays_that_are_no_image(array: np.ndarray) -> None:
    with pytest.raises(UsageError) as caught:
        open_image(array)
    assert str(caught.value) == (
        "the array is not an image\n"
        "  expected: uint8 of shape (height, width), (height, width, 3) or (height, width, 4)\n"
        f"  got: {array.dtype} of shape {array.shape}"
    )


def test_sources_of_another_kind() -> None:
    with pytest.raises(UsageError) as caught:
        open_image(12)  # type: ignore[arg-type]
    assert (
        str(caught.value) == "an image is given as bytes, a path, a Pillow image or a uint8 array\n  got: int"
    )
