"""What other exporters' models take: BGR, pixels of another scale, channels last, uint8 and float16."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import sklearn
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from pinnace.models.errors import UsageError
from pinnace.models.image.preprocess import Preprocess

PHOTOGRAPHS = sorted((Path(sklearn.__file__).parent / "datasets" / "images").glob("*.jpg"))
CAFFE = (103.939, 116.779, 123.68)
ONES, ZEROS = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)


def spec(**changes: object) -> Preprocess:
    values: dict[str, object] = {
        "resize": 64,
        "interpolation": "bilinear",
        "crop": (56, 48),
        "color": "RGB",
        "mean": ZEROS,
        "std": ONES,
    }
    return Preprocess(**{**values, **changes})  # type: ignore[arg-type]


def pixels(photograph: Path, preprocess: Preprocess) -> np.ndarray:
    """The crop by torchvision: uint8, (height, width, 3), RGB."""
    mode = InterpolationMode(preprocess.interpolation)
    image = transforms.Resize(preprocess.resize, interpolation=mode)(Image.open(photograph).convert("RGB"))
    return np.asarray(transforms.CenterCrop(preprocess.crop)(image))


@pytest.fixture(params=["compiled", "pure", "not looked up"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every way to the result: the compiled module, Pillow and NumPy, and a filter that only Pillow has."""
    resample = importlib.import_module("pinnace.models.image.resample")
    if request.param == "compiled" and resample._window is None:
        pytest.skip("the module was not built")
    if request.param == "pure":
        monkeypatch.setattr(resample, "_window", None)
    return "lanczos" if request.param == "not looked up" else "bilinear"


@pytest.mark.parametrize("photograph", PHOTOGRAPHS, ids=lambda path: path.stem)
def test_each_form_is_what_people_write_by_hand(photograph: Path, way: str) -> None:
    x = pixels(photograph, spec(interpolation=way)).astype(np.float32)
    f = np.float32
    mean, std = np.array((0.485, 0.456, 0.406), f), np.array((0.229, 0.224, 0.225), f)
    imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    keras = {"scale": 1 / 127.5, "mean": ONES}
    for changes, wanted in (
        ({}, x / f(255)),
        ({"color": "BGR", "scale": 1, "mean": CAFFE}, x[:, :, ::-1] - np.array(CAFFE, f)),
        (keras, x / f(127.5) - f(1)),
        ({"scale": 1}, x),
        ({"scale": 2.0}, x * f(2)),
        ({"scale": 1, "mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)},
         (x - np.array((123.675, 116.28, 103.53), f)) / np.array((58.395, 57.12, 57.375), f)),
        (imagenet, (x / f(255) - mean) / std),
        ({**imagenet, "dtype": "float16"}, ((x / f(255) - mean) / std).astype(np.float16)),
        ({**imagenet, "dtype": "float64"}, ((x / f(255) - mean) / std).astype(np.float64)),
        ({"dtype": "uint8", "scale": 1}, x.astype(np.uint8)),
        ({"dtype": "uint8", "scale": 1, "color": "BGR"}, x[:, :, ::-1].astype(np.uint8)),
        ({"dtype": "int32", "scale": 1}, x.astype(np.int32)),
        ({"dtype": "int64", "scale": 1, "color": "BGR"}, x[:, :, ::-1].astype(np.int64)),
    ):  # fmt: skip
        for layout in ("NCHW", "NHWC"):
            made = spec(interpolation=way, layout=layout, **changes).apply(Image.open(photograph))
            turned = np.ascontiguousarray(wanted if layout == "NHWC" else wanted.transpose(2, 0, 1))
            np.testing.assert_array_equal(made, turned, err_msg=f"{changes} {layout}", strict=True)
            assert made.flags.c_contiguous


@pytest.mark.parametrize(
    ("layout", "shape"), {"NCHW": (1, 56, 48), "NHWC": (56, 48, 1), "NHW": (56, 48)}.items()
)
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_one_channel(layout: str, shape: tuple[int, ...], dtype: str) -> None:
    grey = spec(color="L", mean=(0.0,), std=(1.0,), scale=1, dtype=dtype, layout=layout)
    made = grey.apply(Image.open(PHOTOGRAPHS[0]))
    wanted = transforms.CenterCrop((56, 48))(transforms.Resize(64)(Image.open(PHOTOGRAPHS[0]).convert("L")))
    assert made.shape == grey.arranged(56, 48) == shape
    assert made.flags.c_contiguous
    np.testing.assert_array_equal(made.reshape(56, 48), np.asarray(wanted).astype(dtype), strict=True)


def test_a_crop_that_reaches_past_the_image_is_black_in_every_order() -> None:
    photograph = Image.open(PHOTOGRAPHS[0])
    wide = {"resize": 40, "crop": (50, 60), "scale": 1}
    rgb = spec(**wide).apply(photograph)
    np.testing.assert_array_equal(spec(**wide, color="BGR").apply(photograph), rgb[::-1])
    np.testing.assert_array_equal(spec(**wide, layout="NHWC").apply(photograph), rgb.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "uint8"}, "an input of uint8 takes the pixels as they are"),
        ({"dtype": "uint8", "scale": 1, "mean": CAFFE}, "an input of uint8 takes the pixels as they are"),
        ({"dtype": "int32", "scale": 1, "mean": CAFFE}, "an input of int32 takes the pixels as they are"),
        ({"layout": "NHW"}, "an input without a dimension for channels takes grey images"),
        ({"scale": 0.0}, "scale is not a positive number"),
        ({"scale": -1.0}, "scale is not a positive number"),
        ({"scale": float("nan")}, "scale is not a positive number"),
        ({"layout": "HWCN"}, "layout is unknown"),
        ({"dtype": "int16"}, "dtype is unknown"),
        ({"color": "GBR"}, "color is unknown"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        spec(**changes)


def test_it_says_in_words_what_is_done() -> None:
    assert str(spec()) == ("shortest edge to 64, bilinear; centre crop 56x48; RGB; mean 0 0 0; std 1 1 1")
    assert str(
        spec(color="BGR", scale=1, mean=CAFFE, layout="NHWC", dtype="float16", resize=(8, 9), crop=None)
    ) == ("resize to 8x9, bilinear; BGR; scale 1; mean 103.9 116.8 123.7; std 1 1 1; NHWC; float16")
    assert str(spec(dtype="uint8", scale=1)).endswith("RGB; pixels of 0..255; uint8")
