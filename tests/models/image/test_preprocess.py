"""The preprocessing against torchvision itself: to the bit, for every mode, size, filter and orientation."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import sklearn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydantic import TypeAdapter
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from pinnace.models.errors import ImageTooLarge, PinnaceError, UnsupportedImage, UsageError
from pinnace.models.image.decode import open_image
from pinnace.models.image.preprocess import Interpolation, Preprocess

FILTERS = get_args(Interpolation)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PHOTOGRAPHS = sorted((Path(sklearn.__file__).parent / "datasets" / "images").glob("*.jpg"))
EIGHT_BIT_MODES = ["1", "L", "LA", "RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB"]


def spec(**changes: object) -> Preprocess:
    values: dict[str, object] = {
        "resize": 256,
        "interpolation": "bilinear",
        "crop": (224, 224),
        "color": "RGB",
        "mean": MEAN,
        "std": STD,
    }
    return Preprocess(**{**values, **changes})  # type: ignore[arg-type]


def by_torchvision(image: Image.Image, preprocess: Preprocess) -> tuple[np.ndarray, np.ndarray]:
    """The crop and the tensor of torchvision's transforms, for an image of 8 bits."""
    image = image.convert(preprocess.color)
    if preprocess.resize is not None:
        mode = InterpolationMode(preprocess.interpolation)
        image = transforms.Resize(preprocess.resize, interpolation=mode)(image)
    if preprocess.crop is not None:
        image = transforms.CenterCrop(preprocess.crop)(image)
    tensor = transforms.Normalize(preprocess.mean, preprocess.std)(transforms.ToTensor()(image))
    return np.asarray(image).reshape(image.height, image.width, -1), tensor.numpy()


def assert_equal_to_torchvision(image: Image.Image, preprocess: Preprocess) -> None:
    crop, tensor = by_torchvision(image, preprocess)
    np.testing.assert_array_equal(preprocess.crop_uint8(image), crop, strict=True)
    result = preprocess.apply(image)
    np.testing.assert_array_equal(result, tensor, strict=True)
    assert result.flags.c_contiguous


def noise(height: int, width: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    chance = np.random.default_rng(seed)
    if mode in ("L", "1"):
        return Image.fromarray(chance.integers(0, 256, (height, width), np.uint8)).convert(mode)
    if mode == "P":
        image = Image.fromarray(chance.integers(0, 256, (height, width), np.uint8)).convert("P")
        image.putpalette(chance.integers(0, 256, 768, np.uint8).tobytes())
        return image
    if mode == "PA":
        return noise(height, width, "P", seed).convert("PA")
    bands = len(Image.new(mode, (1, 1)).getbands())
    parts = chance.integers(0, 256, (bands, height, width), np.uint8)
    return Image.merge(mode, [Image.fromarray(part) for part in parts])


# --- against torchvision ----------------------------------------------------------------------------------

sizes = st.tuples(st.integers(1, 90), st.integers(1, 90))


@settings(max_examples=120, deadline=None)
@given(
    source=sizes,
    resize=st.one_of(st.none(), st.integers(1, 80), sizes),
    crop=st.one_of(st.none(), sizes),
    name=st.sampled_from(FILTERS),
    mode=st.sampled_from([mode for mode in EIGHT_BIT_MODES if mode != "LAB"]),
    color=st.sampled_from(["RGB", "L"]),
)
def test_any_spec_equals_torchvision_to_the_bit(
    source: tuple[int, int],
    resize: int | tuple[int, int] | None,
    crop: tuple[int, int] | None,
    name: str,
    mode: str,
    color: str,
) -> None:
    mean, std = (MEAN, STD) if color == "RGB" else ((0.45,), (0.22,))
    preprocess = spec(resize=resize, crop=crop, interpolation=name, color=color, mean=mean, std=std)
    assert_equal_to_torchvision(noise(*source, mode=mode), preprocess)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("photograph", PHOTOGRAPHS, ids=lambda path: path.stem)
def test_photographs(photograph: Path, name: str) -> None:
    assert_equal_to_torchvision(Image.open(photograph), spec(interpolation=name))


@pytest.mark.parametrize("resize", [224, 232, (224, 224), (300, 200), None])
def test_photographs_at_other_sizes(resize: int | tuple[int, int] | None) -> None:
    for photograph in PHOTOGRAPHS:
        assert_equal_to_torchvision(Image.open(photograph), spec(resize=resize, interpolation="bicubic"))


@pytest.mark.parametrize(
    "source", [(1, 1), (1, 2), (3, 1), (7, 5), (224, 224), (223, 225), (257, 999), (1001, 333), (3000, 4000)]
)
def test_sizes(source: tuple[int, int]) -> None:
    assert_equal_to_torchvision(noise(*source), spec(interpolation="bicubic"))
    assert_equal_to_torchvision(noise(*source), spec(resize=None, crop=(101, 98)))


@pytest.mark.parametrize("source", [(10, 10), (11, 10), (10, 301), (301, 11), (99, 100), (101, 102)])
def test_a_crop_larger_than_the_image_is_padded_with_black(source: tuple[int, int]) -> None:
    assert_equal_to_torchvision(noise(*source), spec(resize=None, crop=(100, 101)))


@pytest.mark.parametrize("color", ["RGB", "L"])
@pytest.mark.parametrize("mode", EIGHT_BIT_MODES)
def test_modes_of_eight_bits(mode: str, color: str) -> None:
    image = noise(61, 47, mode)
    mean, std = (MEAN, STD) if color == "RGB" else ((0.45,), (0.22,))
    preprocess = spec(resize=40, crop=(32, 36), color=color, mean=mean, std=std)
    reference = image.convert("RGB") if (mode, color) == ("LAB", "L") else image
    crop, tensor = by_torchvision(reference, preprocess)
    np.testing.assert_array_equal(preprocess.crop_uint8(image), crop, strict=True)
    np.testing.assert_array_equal(preprocess.apply(image), tensor, strict=True)


@pytest.mark.parametrize("color", ["RGB", "L"])
@pytest.mark.parametrize("transparency", [3, bytes(range(256)), bytes(10)])
def test_a_palette_with_transparency_warns_nobody(transparency: int | bytes, color: str) -> None:
    image = noise(20, 30, "P")
    opaque = np.asarray(image.convert(color)).reshape(20, 30, -1)
    file = io.BytesIO()
    image.save(file, "PNG", transparency=transparency)
    transparent = Image.open(file)
    mean, std = (MEAN, STD) if color == "RGB" else ((0.45,), (0.22,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crop = spec(resize=None, crop=None, color=color, mean=mean, std=std).crop_uint8(transparent)
    np.testing.assert_array_equal(crop, opaque, strict=True)
    assert transparent.info["transparency"] == transparency


# --- more than 8 bits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I"])
def test_sixteen_bit_grey_is_scaled(mode: str) -> None:
    values = np.arange(65536).reshape(256, 256)
    dtype = {"I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2", "I": "=i4"}[mode]
    image = Image.frombytes(mode, (256, 256), values.astype(dtype).tobytes())
    crop = spec(resize=None, crop=None).crop_uint8(image)
    expected = np.round(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(crop, np.stack([expected] * 3, axis=2), strict=True)


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_sixteen_bit_grey_with_an_orientation(mode: str) -> None:
    values = np.arange(6).reshape(2, 3) * 257
    image = Image.frombytes(mode, (3, 2), values.astype("<u2" if mode == "I;16" else "=i4").tobytes())
    image.getexif()[0x0112] = 6
    crop = spec(resize=None, crop=None, color="L", mean=(0.0,), std=(1.0,)).crop_uint8(image)
    np.testing.assert_array_equal(crop[:, :, 0], [[3, 0], [4, 1], [5, 2]])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            Image.new("F", (4, 4)),
            "a floating-point image has no agreed scale to 8 bits\n"
            "  got: mode F\n"
            "  help: scale it to 0..255 and convert it to uint8 first",
        ),
        (
            Image.new("I", (4, 4), 65536),
            "a 32-bit integer image has no agreed scale to 8 bits\n"
            "  expected: values from 0 to 65535\n"
            "  got: values from 65536 to 65536\n"
            "  help: scale it to 0..255 and convert it to uint8 first",
        ),
        (
            Image.new("I", (4, 4), -1),
            "a 32-bit integer image has no agreed scale to 8 bits\n"
            "  expected: values from 0 to 65535\n"
            "  got: values from -1 to -1\n"
            "  help: scale it to 0..255 and convert it to uint8 first",
        ),
    ],
)
def test_pixels_without_a_scale_are_refused(image: Image.Image, message: str) -> None:
    with pytest.raises(UnsupportedImage) as caught:
        spec().apply(image)
    assert str(caught.value) == message


# --- EXIF -------------------------------------------------------------------------------------------------


def oriented(orientation: int, kind: str) -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    noise(31, 22).save(file, kind, exif=exif)
    return Image.open(file)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_and_can_be_switched_off(orientation: int, kind: str) -> None:
    image = oriented(orientation, kind)
    upright, on, off = ImageOps.exif_transpose(image), spec(resize=20, crop=None), spec(crop=None, exif=False)
    assert upright.size == ((22, 31) if orientation < 5 else (31, 22))
    np.testing.assert_array_equal(on.crop_uint8(image), by_torchvision(upright, on)[0], strict=True)
    np.testing.assert_array_equal(off.crop_uint8(image), by_torchvision(image, off)[0], strict=True)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_changes_nothing(orientation: int) -> None:
    assert_equal_to_torchvision(oriented(orientation, "JPEG"), spec(resize=20))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0\0\0", b"\xff" * 40]
)
def test_broken_exif_changes_nothing(exif: bytes) -> None:
    file = io.BytesIO()
    noise(31, 22).save(file, "JPEG", exif=exif)
    assert_equal_to_torchvision(Image.open(file), spec(resize=20))


@pytest.mark.parametrize("info", [{"exif": b"no TIFF header"}, {"Raw profile type exif": "\nexif\n4\nxyz"}])
def test_exif_that_pillow_cannot_parse_changes_nothing(info: dict[str, object]) -> None:
    image = noise(31, 22)
    image.info.update(info)
    with pytest.raises((SyntaxError, ValueError)):
        image.copy().getexif()
    assert_equal_to_torchvision(image, spec(resize=20))


# --- extreme shapes ---------------------------------------------------------------------------------------

MEASURE = """
import resource, sys, time
import numpy as np
from PIL import Image
from pinnace.models.image.preprocess import Preprocess
height, width, name, resize = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], eval(sys.argv[4], {})
spec = Preprocess(resize, name, (224, 224), "RGB", (0.5,) * 3, (0.5,) * 3)
spec.apply(Image.new("RGB", (300, 300)))
image = Image.effect_noise((width, height), 90).convert("RGB")
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
result = spec.apply(image)
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, *result.shape)
print("torch" in sys.modules)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in KiB on Linux only")
@pytest.mark.parametrize("resize", ["256", "(224, 224)"])
@pytest.mark.parametrize("name", ["nearest", "bicubic"])
@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1), (50_000, 2), (3, 100_000)], ids=str)
def test_an_extreme_shape_costs_little_memory_and_time(
    shape: tuple[int, int], name: str, resize: str
) -> None:
    arguments = [sys.executable, "-c", MEASURE, *map(str, shape), name, resize]
    output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    seconds, kibibytes, *result = output.splitlines()[0].split()
    assert result == ["3", "224", "224"]
    assert float(seconds) < 1
    assert int(kibibytes) < 16 * 1024
    assert output.splitlines()[1] == "False"


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("source", [(1, 700), (700, 1), (2, 901), (901, 2)])
def test_extreme_shapes_equal_torchvision(source: tuple[int, int], name: str) -> None:
    assert_equal_to_torchvision(noise(*source), spec(resize=64, crop=(56, 56), interpolation=name))


def test_an_extreme_shape_without_a_crop_is_refused() -> None:
    with pytest.raises(ImageTooLarge) as caught:
        spec(crop=None).apply(noise(1, 60_000))
    assert str(caught.value) == (
        "the image would be resized to 15360000 x 256 pixels, and is not cropped\n"
        "  expected: at most 100,000,000 pixels\n"
        "  got: an image of 60000 x 1 pixels\n"
        "  help: set a crop, or resize to a fixed (height, width)"
    )


# --- cut before it is resized ---------------------------------------------------------------------------


def as_fastai_does(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`Resize(size)` of fastai 2.8 where it validates; its size has the width first."""
    (width, height), wanted = image.size, size[::-1]
    m = width / wanted[0] if width / wanted[0] < height / wanted[1] else height / wanted[1]
    kept = (int(m * wanted[0]), int(m * wanted[1]))
    left, top = int(0.5 * (width - kept[0])), int(0.5 * (height - kept[1]))
    cut = image.crop((left, top, left + kept[0], top + kept[1]))
    return cut.resize(wanted, Image.Resampling.BILINEAR)


@settings(max_examples=60, deadline=None)
@given(source=sizes, size=sizes, color=st.sampled_from(["RGB", "L"]))
def test_the_largest_centred_part_is_cut_out_first(
    source: tuple[int, int], size: tuple[int, int], color: str
) -> None:
    scale = min(source[0] / size[0], source[1] / size[1])
    if scale * min(size) < 1:
        return  # nothing would be left, which fastai does not survive
    channels = len(color)
    image = noise(*source, color)
    cutting = spec(
        resize=size, crop=None, aspect="crop", color=color, mean=(0.5,) * channels, std=(0.5,) * channels
    )
    expected = np.asarray(as_fastai_does(image, size)).reshape(*size, channels)
    np.testing.assert_array_equal(cutting.crop_uint8(image), expected, strict=True)
    left, top, width, height = cutting.seen_part(image)
    assert (width * source[1], height * source[0]) == pytest.approx(
        (int(scale * size[1]), int(scale * size[0]))
    )
    assert abs(left - (1 - width - left)) * source[1] <= 1.01
    assert abs(top - (1 - height - top)) * source[0] <= 1.01


def test_a_photograph_is_cut_before_it_is_resized() -> None:
    path = PHOTOGRAPHS[0]
    cutting = spec(resize=(200, 200), crop=None, aspect="crop")
    with Image.open(path) as image:
        expected = cutting.normalise(np.asarray(as_fastai_does(image.convert("RGB"), (200, 200))))
    np.testing.assert_array_equal(cutting.apply(open_image(path)), expected, strict=True)
    squeezed = spec(resize=(200, 200), crop=None)
    assert np.abs(squeezed.apply(open_image(path)) - expected).max() > 0.5


# --- the spec ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "preprocess",
    [
        spec(),
        spec(resize=(224, 300), interpolation="lanczos", exif=False),
        spec(resize=None, crop=None, color="L", mean=(0.5,), std=(0.5,)),
        spec(resize=(224, 300), crop=None, aspect="crop"),
    ],
)
def test_the_spec_survives_json(preprocess: Preprocess) -> None:
    adapter = TypeAdapter(Preprocess)
    assert adapter.validate_json(adapter.dump_json(preprocess)) == preprocess


def test_json_is_validated_like_the_constructor() -> None:
    adapter = TypeAdapter(Preprocess)
    text = adapter.dump_json(spec()).replace(b"0.229", b"0.0")
    with pytest.raises(UsageError) as caught:
        adapter.validate_json(text)
    assert caught.value.message == "std must not be zero in float32"


def test_a_crop_that_memory_may_not_hold_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        Preprocess(256, "bilinear", (65_535, 65_535), "RGB", (0.0,) * 3, (1.0,) * 3)
    assert caught.value.message == "the crop is too large"


RESIZE = (
    "resize is not a size\n"
    "  expected: a positive int, a pair of positive ints (height, width), or None\n"
    "  got: "
)
CROP = "crop is not a size\n  expected: a pair of positive ints (height, width), or None\n  got: "
MEAN_OF_THREE = (
    "mean does not fit the channels\n"
    "  expected: a tuple of 3 finite numbers, one for each channel of RGB\n  got: "
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resize": 0}, RESIZE + "0"),
        ({"resize": -1}, RESIZE + "-1"),
        ({"resize": True}, RESIZE + "True"),
        ({"resize": 2.5}, RESIZE + "2.5"),
        ({"resize": (224, 0)}, RESIZE + "(224, 0)"),
        ({"resize": (1, 2, 3)}, RESIZE + "(1, 2, 3)"),
        ({"crop": 224}, CROP + "224"),
        ({"crop": (0, 224)}, CROP + "(0, 224)"),
        (
            {"interpolation": "cubic"},
            "interpolation is unknown\n"
            "  expected: nearest, box, bilinear, hamming, bicubic, lanczos\n  got: 'cubic'",
        ),
        ({"color": "GBR"}, "color is unknown\n  expected: RGB, BGR, L\n  got: 'GBR'"),
        ({"mean": (0.5,)}, MEAN_OF_THREE + "(0.5,)"),
        ({"mean": [0.5, 0.5, 0.5]}, MEAN_OF_THREE + "[0.5, 0.5, 0.5]"),
        ({"mean": (0.5, 0.5, float("nan"))}, MEAN_OF_THREE + "(0.5, 0.5, nan)"),
        ({"std": ()}, MEAN_OF_THREE.replace("mean", "std") + "()"),
        (
            {"std": (1.0, 0.0, 1.0)},
            "std must not be zero in float32\n  got: (1.0, 0.0, 1.0)",
        ),
        (
            {"std": (1.0, 1e-60, 1.0)},
            "std must not be zero in float32\n  got: (1.0, 1e-60, 1.0)",
        ),
        (
            {"aspect": "crop"},
            "aspect crop cuts images before they are resized\n"
            "  expected: a resize to (height, width), and no crop\n"
            "  got: resize 256 and crop (224, 224)",
        ),
    ],
)
def test_a_wrong_spec_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        spec(**changes)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "crop", [np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3))]
)
def test_normalise_refuses_another_shape(crop: np.ndarray) -> None:
    with pytest.raises(UsageError) as caught:
        spec().normalise(crop)
    assert str(caught.value) == (
        "the crop cannot be normalised\n"
        "  expected: uint8 of shape (height, width, 3)\n"
        f"  got: {crop.dtype} of shape {crop.shape}"
    )


def test_the_image_is_left_as_it_was_and_the_result_is_its_own() -> None:
    image = noise(30, 30)
    before = image.tobytes()
    spec(resize=None, crop=None).crop_uint8(image)[:] = 0
    assert image.tobytes() == before
    torch.from_numpy(spec().apply(image)).zero_()


def test_a_damaged_file_that_was_opened_lazily() -> None:
    file = io.BytesIO()
    noise(64, 64).save(file, "PNG")
    image = Image.open(io.BytesIO(file.getvalue()[:3000]))
    with pytest.raises(PinnaceError, match=r"^the PNG image is damaged or cut short\n"):
        spec().apply(image)
