"""What looks wrong about a preprocessing is said, with the options that do it right."""

from __future__ import annotations

import shlex

import pytest

from pinnace.export.assumptions import Inside, remarks
from pinnace.export.preprocessing import Changes, parse_changes, parse_scale
from pinnace.models.errors import UsageError
from pinnace.models.loaders.base import imagenet_preprocess
from support.errors import refusal

BASE = imagenet_preprocess()
CAFFE = "103.939,116.779,123.68"


def said(inside: Inside | None = None, **options: str) -> tuple[Changes, list[str]]:
    changes = parse_changes(**options)
    return changes, remarks(changes, changes.apply(BASE), inside)


def again(note: str) -> list[str]:
    """What is said once the options that a note ends in are given."""
    words = shlex.split(note[note.index("--") :])
    options = {word.removeprefix("--"): value for word, value in zip(words[::2], words[1::2], strict=True)}
    return said(**options)[1]


def test_a_mean_of_pixels_brings_their_scale_and_is_told() -> None:
    changes, (note, order) = said(mean=CAFFE, std="1,1,1")
    assert changes.apply(BASE).scale == 1
    assert note == (
        "mean 103.939 116.779 123.68 and std 1 1 1 can only be meant for pixels of 0..255, so pixels are not "
        f"divided by 255: --color RGB --scale 1 --mean {CAFFE} --std 1,1,1"
    )
    assert order == (
        "mean 103.939 116.779 123.68 is ImageNet's in the order blue, green, red, and the channels are RGB; "
        f"if the network was trained on BGR (Caffe, OpenCV): --color BGR --scale 1 --mean {CAFFE} --std 1,1,1"
    )
    assert again(order) == []


def test_a_deviation_of_pixels_too() -> None:
    changes, (note,) = said(mean="123.675,116.28,103.53", std="58.395,57.12,57.375")
    assert (changes.apply(BASE).scale, changes.apply(BASE).color) == (1, "RGB")
    assert again(note) == []
    assert parse_changes(mean="127.5,127.5,127.5").apply(BASE).std == (1, 1, 1)


def test_a_scale_that_was_asked_for_stays_and_what_does_not_fit_it_is_told() -> None:
    changes, (note, _) = said(mean=CAFFE, std="1,1,1", scale="1/255")
    assert changes.apply(BASE).scale == 1 / 255
    assert note.startswith(
        "pixels are divided by 255 before mean 103.939 116.779 123.68 and std 1 1 1 are applied"
    )
    assert note.endswith(f"for those: --scale 1 --mean {CAFFE} --std 1,1,1")
    _, (note,) = said(mean="0.485,0.456,0.406", std="0.229,0.224,0.225", scale="1")
    assert note.endswith(
        "plainly meant for 0..1; for those: --scale 1/255 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
    )
    assert again(note) == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5"},
        {"scale": "1"},
        {"scale": "1/127.5", "mean": "1,1,1"},
        {"scale": "1/127.5", "mean": "1,1,1", "std": "1,1,1"},
        {"mean": "0,0,0", "std": "0.00392157,0.00392157,0.00392157"},
        {"color": "BGR"},
        {"color": "L"},
        {"color": "BGR", "scale": "1", "mean": CAFFE},
        {"mean": "0.48145466,0.4578275,0.40821073", "std": "0.26862954,0.26130258,0.27577711"},
    ],
)
def test_nothing_is_said_of_what_fits(options: dict[str, str]) -> None:
    assert said(**options)[1] == []


def test_a_colour_or_a_scale_alone() -> None:
    grey, scaled, turned = (
        parse_changes(**{name: value}).apply(BASE)
        for name, value in (("color", "L"), ("scale", "1/127.5"), ("color", "BGR"))
    )
    assert (grey.mean, grey.std) == ((0,), (1,))
    assert (scaled.mean, scaled.std, scaled.scale) == ((0, 0, 0), (1, 1, 1), 1 / 127.5)
    assert (turned.mean, turned.std) == (BASE.mean[::-1], BASE.std[::-1])


PIXELS = Inside((127.5,) * 3, (127.5,) * 3, 255)
UNITS = Inside((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1, "RGB")
BGR = Inside((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), 255, "BGR")


def test_what_the_model_does_itself_is_not_done_twice_in_silence() -> None:
    for inside, scale in ((PIXELS, "1"), (UNITS, "1/255")):
        _, (note,) = said(inside)
        assert note.endswith(
            f"here they are normalised before it as well: --scale {scale} --mean 0,0,0 --std 1,1,1"
        )
        _, (note,) = said(inside, scale=scale, mean="0,0,0", std="1,1,1")
        assert note.endswith(f"so it is given pixels of 0..{inside.takes} in RGB as they are")
    _, notes = said(BGR, scale="1")
    assert notes[1] == "the means in the model are those of BGR images: --color BGR"
    assert len(said(BGR, scale="1", color="BGR")[1]) == 1


@pytest.mark.parametrize("text", ["0", "-1", "1/0", "x", "1/255/2", "inf", "nan", ""])
def test_what_is_no_scale(text: str) -> None:
    assert refusal(UsageError, parse_scale, text).startswith(f"--scale {text!r} is not a positive number")
    assert parse_scale("1/127.5") == 1 / 127.5
