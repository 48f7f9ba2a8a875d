"""The golden inputs of image models stay within what their dtype stands for."""

from __future__ import annotations

import pytest

from pinnace.export.worker.golden_inputs import image_inputs
from pinnace.models.image.preprocess import PIXELS, Preprocess


@pytest.mark.parametrize("dtype", PIXELS)
@pytest.mark.parametrize(("color", "layout"), [("RGB", "NCHW"), ("BGR", "NHWC"), ("L", "NHW")])
def test_pixels_stay_pixels(dtype: str, color: str, layout: str) -> None:
    channels = len(color)
    spec = Preprocess(
        (16, 16), "bilinear", None, color, (0.0,) * channels, (1.0,) * channels, scale=1.0, layout=layout,
        dtype=dtype,
    )  # type: ignore[arg-type]  # fmt: skip
    images = image_inputs(spec, (16, 16))
    assert images.dtype == dtype
    assert images.shape[1:] == spec.arranged(16, 16)
    assert (images.min(), images.max()) == (0, 255)
