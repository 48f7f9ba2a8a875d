"""What is sent equals what is given, to the model's eye."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from pinnace.clients.encoding import encode
from pinnace.models.errors import ImageError, PinnaceError, UsageError
from pinnace.models.image.decode import open_image
from pinnace.models.image.preprocess import ColorMode, Preprocess

CAT = Path(__file__).parents[2] / "models" / "photographs" / "cat.jpg"
SPEC = Preprocess(
    resize=32, interpolation="bilinear", crop=(32, 32), color="RGB", mean=(0.5,) * 3, std=(0.5,) * 3
)
GREY = Preprocess(resize=32, interpolation="bilinear", crop=(32, 32), color="L", mean=(0.5,), std=(0.5,))


def photograph(mode: str) -> Image.Image:
    image = Image.open(CAT).resize((60, 40))
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode == "I":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.int32) * 257)
    if mode == "PA":
        return image.convert("P").convert("PA")
    return image.convert("RGB").convert(mode)


@pytest.mark.parametrize("color", ["RGB", "L"])
@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "I;16"]
)
def test_every_mode_of_pillow(mode: str, color: ColorMode) -> None:
    image = photograph(mode)
    spec = SPEC if color == "RGB" else GREY
    sent = open_image(encode(image))
    assert sent.format == "PNG"
    # A mode that PNG has no room for is sent as RGB; the grey of that may differ by the last rounding.
    atol = 0 if color == "RGB" or mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16") else 2
    np.testing.assert_allclose(spec.crop_uint8(sent), spec.crop_uint8(image), atol=atol, rtol=0)


def test_the_orientation_travels_and_the_rest_of_the_exif_stays() -> None:
    image = Image.open(CAT).resize((60, 40))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "my camera"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    turned = Image.open(buffer)
    sent = open_image(encode(turned))
    np.testing.assert_array_equal(SPEC.crop_uint8(sent), SPEC.crop_uint8(turned))
    assert dict(sent.getexif()) == {ExifTags.Base.Orientation: 6}


def test_files_and_bytes_go_as_they_are() -> None:
    data = CAT.read_bytes()
    assert encode(CAT) == encode(str(CAT)) == encode(data) == encode(bytearray(data)) == data
    assert encode(memoryview(data)) == data


def test_arrays_lose_nothing() -> None:
    for shape in ((7, 9), (7, 9, 3), (7, 9, 4)):
        array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        np.testing.assert_array_equal(np.asarray(open_image(encode(array))), array)


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (Path("nowhere.jpg"), ImageError, "there is no file nowhere.jpg"),
        (CAT.parent, ImageError, f"{CAT.parent} is a directory, not an image file"),
        (
            "a\0b",
            ImageError,
            "the file a\0b cannot be read\n  got: embedded null byte",
        ),
        (
            17,
            UsageError,
            "an image is given as bytes, a path, a Pillow image or a uint8 array\n  got: int",
        ),
        (
            np.zeros((2, 2, 3)),
            UsageError,
            "the array is not an image\n"
            "  expected: uint8 of shape (height, width), (height, width, 3) or (height, width, 4)\n"
            "  got: float64 of shape (2, 2, 3)",
        ),
    ],
)
def test_what_is_no_image(image: object, kind: type[PinnaceError], message: str) -> None:
    with pytest.raises(kind) as caught:
        encode(image)  # type: ignore[arg-type]
    assert str(caught.value) == message
