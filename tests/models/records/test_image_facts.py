"""The brightness of a record is that of the pixels which the model sees, however it is fed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pinnace.models.image.decode import open_image
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.records.image_facts import ImageFacts, brightness, facts_of

PIXELS: dict[str, Any] = {"scale": 1.0, "mean": (0.0,) * 3, "std": (1.0,) * 3, "dtype": "uint8"}


def preprocess(**changed: Any) -> Preprocess:
    given = {
        "resize": None,
        "interpolation": "bilinear",
        "crop": (60, 80),
        "color": "RGB",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
    return Preprocess(**{**given, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"layout": "NHWC"},
        {"color": "BGR"},
        {"dtype": "float16"},
        {"scale": 1.0, "mean": (127.0,) * 3, "std": (128.0,) * 3},
        PIXELS,
        {**PIXELS, "layout": "NHWC", "color": "BGR"},
        {"color": "L", "mean": (0.5,), "std": (0.5,)},
        {"color": "L", "mean": (0.5,), "std": (0.5,), "layout": "NHW"},
    ],
)
def test_it_is_what_pillow_calls_grey(changed: dict[str, Any]) -> None:
    rows, columns = np.mgrid[:60, :80]
    picture = Image.fromarray(np.stack([2 * rows, 2 * columns, rows + columns], axis=-1).astype(np.uint8))
    steps = preprocess(**changed)
    prepared = steps.apply(picture)
    expected = float(np.asarray(picture.convert("L"), np.float64).mean())
    assert brightness(prepared, steps) == pytest.approx(expected, abs=0.8)
    assert brightness(prepared[np.newaxis], steps) == brightness(prepared, steps)


def test_a_large_input_is_looked_at_here_and_there() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (448, 600, 3), dtype=np.uint8)
    noise[:200] //= 4
    picture = Image.fromarray(noise)
    steps = preprocess(crop=(448, 600))
    expected = float(np.asarray(picture.convert("L"), np.float64).mean())
    assert brightness(steps.apply(picture), steps) == pytest.approx(
        expected, abs=6
    )  # of noise, the worst there is


def test_the_facts_of_a_file() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (200, 100), (10, 200, 30)).save(buffer, "JPEG")
    data = buffer.getvalue()
    image = open_image(data, whole=False)
    facts = facts_of(image, len(data), preprocess().apply(image), preprocess())
    assert facts == ImageFacts("JPEG", 200, 100, len(data), pytest.approx(124, abs=1))
