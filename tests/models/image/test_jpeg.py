"""The window decoded alone against the whole picture decoded by Pillow: the same bits, the same errors."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from pinnace.models.errors import ImageError
from pinnace.models.image import jpeg
from pinnace.models.image.decode import open_image
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.photographs import photographs

pytestmark = pytest.mark.skipif(
    not jpeg.AVAILABLE,
    reason="the decoder of windows was not built: it takes a C compiler and libjpeg-turbo's headers",
)

ORIENTATION = 0x112
FORMS: dict[str, dict[str, object]] = {
    "4:4:4": {"subsampling": "4:4:4"},
    "4:2:2": {"subsampling": "4:2:2"},
    "4:2:0": {"subsampling": "4:2:0"},
    "4:1:1": {"subsampling": "4:1:1"},
    "RGB": {"keep_rgb": True},
    "progressive": {"progressive": True, "subsampling": "4:2:0"},
    "progressive 4:4:4": {"progressive": True, "subsampling": "4:4:4"},
    "restarts": {"restart_marker_blocks": 1},
    "restarts of rows": {"restart_marker_rows": 1},
    "optimised": {"optimize": True},
    "fine": {"quality": 100},
    "coarse": {"quality": 5},
}


def encoded(image: Image.Image, orientation: int = 1, **options: object) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=exif, **options)
    return stream.getvalue()


def spec(**changes: object) -> Preprocess:
    values: dict[str, object] = {
        "resize": 72,
        "interpolation": "bicubic",
        "crop": (64, 64),
        "color": "RGB",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
    return Preprocess(**{**values, **changes})  # type: ignore[arg-type]


def result(preprocess: Preprocess, data: bytes, *, whole: bool) -> tuple[str, str] | np.ndarray:
    try:
        return preprocess.apply(open_image(data, whole=whole))
    except ImageError as error:
        return type(error).__name__, str(error)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each JPEG that was tried, whether its window alone was decoded."""
    made: list[bool] = []
    look_up: Callable[..., object] = jpeg.look_up

    def noted(*arguments: object) -> object:
        found = look_up(*arguments)
        made.append(found is not None)
        return found

    monkeypatch.setattr(jpeg, "look_up", noted)
    return made


@pytest.mark.parametrize("form", FORMS)
def test_every_form_size_and_orientation(form: str, windows: list[bool]) -> None:
    chosen = random.Random(form)
    for number, path in enumerate(3 * photographs()):
        photograph = Image.open(path).convert("RGB")
        width, height = chosen.randrange(80, photograph.width), chosen.randrange(80, photograph.height)
        image = photograph.crop((0, 0, width, height))
        data = encoded(image, number, **FORMS[form])
        for changes in (
            {},
            {"interpolation": "bilinear", "color": "BGR", "layout": "NHWC"},
            {"resize": (64, 200), "crop": (5, 61), "exif": False},
            {"resize": (200, 40), "crop": (33, 40), "dtype": "float16"},
        ):
            preprocess = spec(**changes)
            whole, alone = (preprocess.apply(open_image(data, whole=which)) for which in (True, False))
            np.testing.assert_array_equal(alone, whole, err_msg=f"{image.size} {changes}", strict=True)
    assert all(windows)
    assert len(windows) == 4 * 9


def test_damaged_files_end_as_they_do_with_pillow(windows: list[bool]) -> None:
    chosen = random.Random(1)
    image = Image.open(photographs()[0]).convert("RGB").resize((90, 80))
    preprocess = spec()
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for form in ("4:2:0", "4:4:4", "progressive", "restarts"):
            sound = encoded(image, **FORMS[form])
            for number in range(75):
                data = bytearray(sound)
                if number % 3 == 0:
                    del data[chosen.randrange(20, len(data)) :]
                for _ in range(number % 3):
                    data[chosen.randrange(2, len(data))] ^= 1 << chosen.randrange(8)
                whole, alone = (result(preprocess, bytes(data), whole=which) for which in (True, False))
                if isinstance(whole, np.ndarray):
                    np.testing.assert_array_equal(alone, whole)
                else:
                    assert alone == whole
                    refused += 1
    assert refused > 50
    assert sum(windows) > 50


def frame_header(data: bytes | bytearray) -> int:
    return data.index(b"\xff\xc0")


@pytest.mark.parametrize("kind", ["bytes before a marker", "bits after the last block", "a wrong restart"])
def test_a_warning_leaves_the_picture_to_pillow(kind: str, windows: list[bool]) -> None:
    image = Image.open(photographs()[0]).convert("RGB").resize((160, 128))
    sound = encoded(image, restart_marker_rows=1)
    if kind == "bytes before a marker":
        at = sound.index(b"\xff\xdb")
        data = sound[:at] + bytes(7) + sound[at:]
    elif kind == "bits after the last block":
        data = sound[:-2] + bytes(7) + sound[-2:]
    else:
        data = sound.replace(b"\xff\xd2", b"\xff\xd5", 1)
    whole, alone, of_the_sound = (
        spec().apply(open_image(each, whole=which))
        for each, which in ((data, True), (data, False), (sound, False))
    )
    np.testing.assert_array_equal(alone, whole, strict=True)
    assert of_the_sound.shape == whole.shape
    assert windows == [False, True]


def test_unusual_sampling_is_left_to_pillow(windows: list[bool]) -> None:
    image = Image.open(photographs()[0]).convert("RGB").resize((160, 128))
    data = bytearray(encoded(image, subsampling="4:2:0"))
    # As many blocks in as many units, but one above the other: a sound file of another picture.
    data[frame_header(data) + 11] = 0x14
    whole, alone = (spec().apply(open_image(bytes(data), whole=which)) for which in (True, False))
    np.testing.assert_array_equal(alone, whole, strict=True)
    assert windows == [False]


@pytest.mark.parametrize(("mode", "options"), [("L", {}), ("CMYK", {}), ("L", {"progressive": True})])
def test_modes(mode: str, options: dict[str, object]) -> None:
    image = Image.open(photographs()[0]).convert(mode)
    data = encoded(image, 6, **options)
    for preprocess in (spec(), spec(color="L", mean=(0.0,), std=(1.0,))):
        whole, alone = (preprocess.apply(open_image(data, whole=which)) for which in (True, False))
        np.testing.assert_array_equal(alone, whole, strict=True)


@pytest.mark.parametrize(
    "changes", [{"crop": None}, {"crop": (90, 90)}, {"interpolation": "lanczos"}, {"resize": None}]
)
def test_what_takes_the_whole_picture(changes: dict[str, object], windows: list[bool]) -> None:
    preprocess = spec(**changes)
    data = photographs()[0].read_bytes()
    whole, alone = (preprocess.apply(open_image(data, whole=which)) for which in (True, False))
    np.testing.assert_array_equal(alone, whole, strict=True)
    assert not any(windows)


def test_a_progressive_file_without_all_its_bits_is_smoothed_by_pillow(windows: list[bool]) -> None:
    data = encoded(Image.open(photographs()[0]).convert("RGB"), progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    for kept in scans[2:]:
        short = data[:kept] + b"\xff\xd9"
        whole, alone = (spec().apply(open_image(short, whole=which)) for which in (True, False))
        np.testing.assert_array_equal(alone, whole, strict=True)
    assert not any(windows)
    assert windows


def test_only_what_is_asked_for_is_left_undecoded() -> None:
    data = photographs()[0].read_bytes()
    assert not jpeg.is_undecoded(open_image(data))
    image = open_image(data, whole=False)
    assert jpeg.is_undecoded(image)
    image.load()
    assert not jpeg.is_undecoded(image)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    assert not jpeg.is_undecoded(open_image(stream.getvalue(), whole=False))


def test_a_picture_of_another_size_than_its_header_says_is_left_to_pillow() -> None:
    data = photographs()[0].read_bytes()
    with Image.open(photographs()[0]) as image:
        height, width = image.height, image.width
    table = bytes(3 * 256 * 4)
    window = (0, 0, 4, 4)
    for size in ((height + 1, width), (height, width - 1), (1, 1)):
        assert jpeg.resample._window.resize_jpeg(data, 1, size, (8, 8), window, True, False, table) is None
    for orientation in (0, 9):
        with pytest.raises(ValueError, match="orientation"):
            jpeg.resample._window.resize_jpeg(data, orientation, (9, 9), (8, 8), window, True, False)


def test_a_library_without_a_jpeg_decoder_is_not_taken() -> None:
    window = jpeg.resample._window
    assert not window.bind(np._core._multiarray_umath.__file__)
    assert not window.bind("/nowhere/of/this/name.so")
    assert window.bind(Image.core.__file__)
