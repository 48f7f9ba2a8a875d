"""Targets as data, several of them at once, and which variants come of one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pinnace.cli import main
from pinnace.export import targets
from pinnace.export.formats import precision_of
from pinnace.export.targets import Target, combine, parse_batch, words
from pinnace.export.variant_selection import select
from pinnace.models.bundle.measurements import Tolerance
from pinnace.models.errors import UsageError
from pinnace.models.runtimes import all_runtimes
from pinnace.models.variant_name import VariantName
from support.errors import refusal

NAMES = ["android", "cpu", "cuda", "jetson-nano", "jetson-orin", "raspberry-pi", "rtx"]
FILES = Path(targets.__file__).parent
each_target = pytest.mark.parametrize("name", NAMES)


def test_these_targets_come_with_the_package() -> None:
    assert targets.names() == NAMES


@each_target
def test_a_target_names_what_there_is(name: str) -> None:
    target = targets.read(name)
    assert 17 <= target.opset <= 20
    assert {precision_of(variant) for variant in target.variants} <= set(target.tolerance)
    assert set(target.runtimes) <= set(all_runtimes())
    formats = {format for runtime in target.runtimes for format in all_runtimes()[runtime].formats}
    assert {variant.format for variant in target.variants} <= formats


@each_target
def test_lower_precisions_are_allowed_more_and_judged_on_photographs(name: str) -> None:
    tolerance = targets.read(name).tolerance
    assert tolerance["fp32"].max_rel < tolerance["fp16"].max_rel < tolerance["int8"].max_rel
    assert [tolerance[p].photographs_only for p in ("fp32", "fp16", "int8")] == [False, True, True]


@each_target
def test_every_tolerance_has_its_reason(name: str) -> None:
    lines = (FILES / f"{name}.toml").read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith("[tolerance."):
            assert lines[number - 1].startswith("# "), line


def test_targets_for_tensorrt_have_the_int8_that_it_takes() -> None:
    for name in NAMES:
        kinds = {variant.precision for variant in targets.read(name).variants}
        if any(runtime.startswith("tensorrt") for runtime in targets.read(name).runtimes):
            assert "int8" not in kinds, name
        else:
            assert "int8sym" not in kinds, name


def test_several_targets_make_one_that_suits_them_all() -> None:
    one = Target(
        "one", 18, (VariantName("onnx", "fp32"), VariantName("onnx", "fp16")),
        {"fp32": Tolerance(max_rel=1e-3, min_cosine=0.9), "fp16": Tolerance(photographs_only=True)},
        (1, 16), ("onnxruntime",),
    )  # fmt: skip
    other = Target(
        "other", 17, (VariantName("onnx", "fp16"), VariantName("onnx", "int8")),
        {
            "fp32": Tolerance(max_rel=1e-2, min_cosine=0.99, photographs_only=True),
            "fp16": Tolerance(max_rel=0.1, min_top5_overlap=0.5, photographs_only=True),
        },
        (2, 8), ("tensorrt", "onnxruntime"),
    )  # fmt: skip
    assert combine([one, other]) == Target(
        "one; other", 17, tuple(VariantName("onnx", precision) for precision in ("fp32", "fp16", "int8")),
        {
            "fp32": Tolerance(max_rel=1e-3, min_cosine=0.99),
            "fp16": Tolerance(max_rel=0.1, min_top5_overlap=0.5, photographs_only=True),
        },
        (1, 16), ("onnxruntime", "tensorrt"),
    )  # fmt: skip
    assert combine([one]) is one


def test_batch_ranges() -> None:
    assert parse_batch("1:64") == (1, 64)
    assert parse_batch("8") == (8, 8)
    for text in ("0:4", "4:1", "a:b", "", ":3", "-1:3"):
        assert refusal(UsageError, lambda text=text: parse_batch(text)) == (
            f"{text!r} is not a range of batch sizes\n  expected: MIN:MAX, such as 1:64\n  got: {text}"
        )


def test_a_target_with_a_batch_that_is_no_range(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('description = "x"\nopset = 18\nvariants = ["onnx-fp32"]\nbatch = [4, 1]\n[tolerance]\n')
    assert refusal(UsageError, lambda: targets.read(str(path))) == (
        f"{path}: batch is not a range\n  expected: [smallest, largest], at least 1\n  got: [4, 1]"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('runtimes = ["onnxruntim"]', "runtimes: there is no onnxruntim\n  expected: one of onnxruntime, "),
        ("tolerance.fp23.max_rel = 1", "tolerance: there is no fp23\n  expected: one of fp16, fp32, int8\n"),
        ("opset = 99", "opset: Input should be less than or equal to 20"),
    ],
)
def test_a_target_with_a_slip_of_the_pen(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    opset = "" if line.startswith("opset") else "opset = 18\n"
    path.write_text(
        f'description = "x"\nvariants = ["onnx-fp32"]\n{opset}{line}\ntolerance.fp32.max_rel = 1\n'
    )
    assert refusal(UsageError, lambda: targets.read(str(path))).startswith(f"{path}: {message}")


def test_a_precision_of_which_a_target_says_nothing_has_to_keep_what_it_has_for_cpus(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'description = "x"\nopset = 18\nvariants = ["onnx-fp32", "onnx-int8"]\ntolerance.fp32.max_rel = 1\n'
    )
    tolerance = targets.read(str(path)).tolerance
    assert tolerance["int8"] == targets.read("cpu").tolerance["int8"]
    assert tolerance["fp32"].max_rel == 1


def test_pinnace_targets_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["targets", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [target["name"] for target in listed] == NAMES
    assert listed[NAMES.index("cpu")]["variants"] == list(map(str, targets.read("cpu").variants))
    assert main.run(["targets"]) == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"^{name} ", shown, re.MULTILINE) for name in NAMES)


# Which variants.

CPU = targets.read("cpu")
RTX = targets.read("rtx")


@pytest.mark.parametrize(
    ("target", "formats", "precisions", "variants"),
    [
        (CPU, "", "", "onnx-fp32 torchscript-fp32 onnx-int8"),
        (CPU, "onnx", "", "onnx-fp32 onnx-int8"),
        (CPU, "torchscript", "", "torchscript-fp32"),
        (CPU, "pt2", "", "pt2-fp32"),
        (CPU, "pt2,onnx", "fp32", "onnx-fp32 pt2-fp32"),
        (CPU, "pt2", "aoti", "pt2-aoti"),
        (CPU, "", "fp32", "onnx-fp32 torchscript-fp32"),
        (CPU, "", "fp16", "onnx-fp16 onnx-fp32"),
        (CPU, "", "int8", "onnx-int8 onnx-fp32"),
        (CPU, "", "fp32,fp16,int8", "onnx-fp32 torchscript-fp32 onnx-fp16 onnx-int8"),
        (CPU, "torchscript", "fp16", "torchscript-fp16"),
        (RTX, "", "int8", "onnx-int8sym onnx-fp32"),
        (RTX, "", "int8sym", "onnx-int8sym onnx-fp32"),
        (combine([CPU, RTX]), "", "int8", "onnx-int8 onnx-int8sym onnx-fp32"),
    ],
)  # fmt: skip
def test_formats_and_precisions_choose_and_add(
    target: Target, formats: str, precisions: str, variants: str
) -> None:
    chosen = select(target, words([formats]), words([precisions]), calibrated=True)
    assert list(map(str, chosen.variants)) == variants.split()


def test_what_needs_images_is_left_out() -> None:
    chosen = select(CPU, [], [], calibrated=False)
    assert list(map(str, chosen.variants)) == ["onnx-fp32", "torchscript-fp32"]
    assert (chosen.notes, list(map(str, chosen.without_images))) == ((), ["onnx-int8"])


def test_what_another_is_made_of_comes_along_and_said_so() -> None:
    chosen = select(CPU, [], ["fp16"], calibrated=False)
    assert chosen.notes == ("onnx-fp32 was added, because onnx-fp16 is made from it and compared with it",)


@pytest.mark.parametrize(
    ("formats", "precisions", "message"),
    [
        (
            ["tflite"],
            [],
            "there is no format tflite\n  expected: one of executorch, litert, ncnn, onnx, pt2, torchscript\n"
            "  got: tflite\n  help: did you mean litert?",
        ),
        (
            [],
            ["int4"],
            "there is no precision int4\n  expected: one of fp32, fp16, int8, int8sym, aoti\n  got: int4",
        ),
        (
            ["torchscript"],
            ["int8"],
            "none of torchscript is written in int8\n  expected: one of executorch-fp32, litert-fp32, "
            "litert-fp16, litert-int8, ncnn-fp32, ncnn-fp16, onnx-fp32, onnx-fp16, "
            "onnx-int8, onnx-int8sym, pt2-fp32, pt2-aoti, torchscript-fp32, torchscript-fp16",
        ),
        (
            [],
            ["int8"],
            "onnx-int8 needs images: its ranges are found by running the model on them\n"
            "  expected: --calibrate DIR, with about 100 to 500 photographs of the kind the model will meet",
        ),
    ],
)
def test_what_cannot_be_chosen(formats: list[str], precisions: list[str], message: str) -> None:
    assert refusal(UsageError, lambda: select(CPU, formats, precisions, calibrated=False)) == message
