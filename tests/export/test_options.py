"""The options that are read before anything is loaded: inputs, preprocessing, arguments."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pinnace.export.inputs import parse_inputs
from pinnace.export.preprocessing import Changes, parse_changes
from pinnace.models.bundle.signature import TensorSpec
from pinnace.models.errors import UsageError
from pinnace.models.image.preprocess import Preprocess
from pinnace.models.loaders.base import imagenet_preprocess
from pinnace.models.loaders.foreign import parse_arguments
from support.errors import refusal

BASE = imagenet_preprocess()


def changed(**options: str) -> Preprocess:
    return parse_changes(**options).apply(BASE)


def test_inputs() -> None:
    assert parse_inputs(["x=float32[batch,3,416,416]", "ids = int64[batch, words]", "scale=float64[]"]) == (
        TensorSpec("x", "float32", ("batch", 3, 416, 416)),
        TensorSpec("ids", "int64", ("batch", "words")),
        TensorSpec("scale", "float64", ()),
    )


@pytest.mark.parametrize(
    "text", ["", "x", "x=float32", "x=[3]", "x=float32[0]", "x=float32[3,]", "1=int8[2]"]
)
def test_what_is_no_input(text: str) -> None:
    assert refusal(UsageError, lambda: parse_inputs([text])) == (
        f"--input {text!r} is not an input\n"
        "  expected: name=dtype[dimensions], such as image=float32[batch,3,224,224]"
    )


def test_an_unknown_dtype_and_a_name_twice() -> None:
    assert refusal(UsageError, lambda: parse_inputs(["x=bfloat16[2]"])) == (
        "--input 'x=bfloat16[2]' has an unknown dtype\n"
        "  expected: one of float32, float64, float16, int64, int32, int16, int8, uint8, bool\n"
        "  got: bfloat16"
    )
    assert refusal(UsageError, lambda: parse_inputs(["x=int8[2]", "x=int8[3]"])) == "--input x is given twice"


def test_arguments_are_python_literals_or_else_text() -> None:
    texts = ["a=3", "b=0.5", "c=True", "d=None", "e=(1, 2)", "f=small", "g=", "h=x=y", "i='7'", "j=1+"]
    assert parse_arguments(texts) == {
        **{"a": 3, "b": 0.5, "c": True, "d": None, "e": (1, 2)},
        **{"f": "small", "g": "", "h": "x=y", "i": "7", "j": "1+"},
    }
    assert refusal(UsageError, lambda: parse_arguments(["width"])) == (
        "--arg 'width' is not an argument\n  expected: name=value, such as width=0.5"
    )
    assert refusal(UsageError, lambda: parse_arguments(["a-b=3"])).startswith(
        "--arg 'a-b=3' is not an argument"
    )
    assert refusal(UsageError, lambda: parse_arguments(["a=1", "a=2"])) == "--arg a is given twice"


def test_the_help_of_export_fits_a_page() -> None:
    command = [sys.executable, "-m", "pinnace.cli.main", "export", "--help"]
    environment = {**os.environ, "COLUMNS": "80", "TERMINAL_WIDTH": "80"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 80


def test_nothing_said_changes_nothing() -> None:
    assert parse_changes() == Changes()
    assert Changes().apply(BASE) == BASE
    assert Changes().left == ("size", "interpolation", "color", "mean", "std")


def test_each_option_changes_its_field() -> None:
    result = changed(resize="240", interpolation="bicubic", mean="0.1,0.2,0.3", std=".4, .5, .6")
    assert result == Preprocess(240, "bicubic", (224, 224), "RGB", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert parse_changes(resize="240", interpolation="bicubic", mean="0", std="1").left == ("color",)
    assert not parse_changes(resize="240", interpolation="bicubic", color="L", mean="0", std="1").left


def test_sizes() -> None:
    def sizes(**options: str) -> tuple[object, object]:
        result = changed(**options)
        return result.resize, result.crop

    assert sizes(resize="64x48") == ((64, 48), None)
    assert sizes(resize="64x48", crop="32") == ((64, 48), (32, 32))
    assert sizes(crop="112x112") == (128, (112, 112))
    assert sizes(crop="none", resize="64x48") == ((64, 48), None)
    assert sizes(resize="none") == (None, (224, 224))


def test_a_colour_alone_means_mean_0_and_std_1() -> None:
    assert changed(color="L") == Preprocess(256, "bilinear", (224, 224), "L", (0.0,), (1.0,))
    assert changed(color="L", mean="0.5", std="0.25").mean == (0.5,)
    assert changed(color="RGB") == BASE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize": "0"}, "--resize '0' is not a size"),
        ({"resize": "64*64"}, "--resize '64*64' is not a size"),
        ({"crop": "x"}, "--crop 'x' is not a size\n  expected: a number, HEIGHTxWIDTH, or none"),
        ({"interpolation": "cubic"}, "--interpolation 'cubic' is unknown\n  expected: one of nearest, "),
        ({"color": "GBR"}, "--color 'GBR' is unknown\n  expected: one of RGB, BGR, L"),
        (
            {"mean": "0.5;0.5"},
            "--mean '0.5;0.5' is not a list of numbers\n  expected: such as 0.485,0.456,0.406",
        ),
        ({"std": "0.5"}, "std does not fit the channels"),
    ],
)
def test_wrong_options(options: dict[str, str], message: str) -> None:
    assert refusal(UsageError, lambda: changed(**options)).startswith(message)
