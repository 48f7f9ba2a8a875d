"""`POST /crop`: what the model sees, to the pixel, and where that lies in the picture."""

from __future__ import annotations

import io

import httpx
import numpy as np
import pytest
from PIL import Image

from pinnace.models.errors import ImageTooLarge
from pinnace.models.image.preprocess import ColorMode, Preprocess
from pinnace.serving.http.route_families.crop import cropped
from pinnace.serving.inference.admission import Admission
from support.tiny_bundle import SIZE

ADMISSION = Admission(slots=1, queue=1, timeout=9, max_bytes=9_000_000)
GRADIENT = np.stack(np.meshgrid(np.arange(60) * 4, np.arange(40) * 6, indexing="xy"), -1)


def picture(orientation: int = 1) -> tuple[bytes, Image.Image]:
    """A picture of 60 x 40 whose pixels are all different, and the same the right way up."""
    image = Image.fromarray(np.dstack([GRADIENT, np.full((40, 60), 90)]).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    return buffer.getvalue(), image.transpose(Image.Transpose.ROTATE_270) if orientation == 6 else image


def test_the_crop_is_what_pillow_makes(client: httpx.Client) -> None:
    data, image = picture()
    answered = client.post("/crop", content=data)
    assert (answered.status_code, answered.headers["content-type"]) == (200, "image/png")
    assert answered.headers["x-part"] == "0, 0, 1, 1"
    shown = Image.open(io.BytesIO(answered.content))
    squeezed = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(shown), np.asarray(squeezed))


def test_what_is_wrong_is_said_as_everywhere(client: httpx.Client) -> None:
    assert client.post("/crop", content=b"none").status_code == 415
    unknown = client.post("/models/other/crop", content=picture()[0])
    assert unknown.json()["error"]["code"] == "unknown_model"
    refused = client.post("/crop?top_k=2", content=picture()[0])
    assert refused.json()["error"]["message"] == "top_k and threshold mean nothing here"


@pytest.mark.parametrize("color", ["RGB", "BGR", "L"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_centre_crop_lies_in_the_middle(color: ColorMode, orientation: int) -> None:
    data, upright = picture(orientation)
    channels = len(color)
    preprocess = Preprocess(20, "bilinear", (20, 20), color, (0.0,) * channels, (1.0,) * channels)
    png, part = cropped(preprocess, data, ADMISSION, 100_000_000)
    shown = np.asarray(Image.open(io.BytesIO(png)))
    scaled = upright.resize(
        (30, 20) if upright.width > upright.height else (20, 30), Image.Resampling.BILINEAR
    )
    box = (5, 0, 25, 20) if upright.width > upright.height else (0, 5, 20, 25)
    expected = scaled.crop(box)
    if color == "L":
        expected = upright.convert("L").resize(scaled.size, Image.Resampling.BILINEAR).crop(box)
    assert np.array_equal(shown, np.asarray(expected))
    shares = (5 / 30, 0, 20 / 30, 1) if upright.width > upright.height else (0, 5 / 30, 1, 20 / 30)
    assert part == pytest.approx(shares)


def test_padding_begins_below_zero() -> None:
    preprocess = Preprocess(None, "bilinear", (80, 80), "RGB", (0.0,) * 3, (1.0,) * 3)
    left, top, width, height = preprocess.seen_part(picture()[1])
    assert (left, top, width, height) == pytest.approx((-10 / 60, -20 / 40, 80 / 60, 2))


def test_a_model_that_sees_everything_shows_no_more_than_a_screen() -> None:
    preprocess = Preprocess(None, "bilinear", None, "RGB", (0.0,) * 3, (1.0,) * 3)
    buffer = io.BytesIO()
    Image.new("RGB", (2500, 2000)).save(buffer, "PNG")
    with pytest.raises(ImageTooLarge, match="the model sees 2500 x 2000 pixels"):
        cropped(preprocess, buffer.getvalue(), ADMISSION, 100_000_000)
