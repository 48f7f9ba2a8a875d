"""A variant's name is parsed in one place, and printed back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from pinnace.models.errors import UsageError
from pinnace.models.variant_name import VariantName

ROOT = Path(__file__).parents[2]
WINGS = ("models", "export", "latency", "serving", "clients", "cli")


@pytest.mark.parametrize(
    ("text", "format", "precision"),
    [
        ("onnx-fp32", "onnx", "fp32"),
        ("onnx-int8sym", "onnx", "int8sym"),
        ("pt2-aoti", "pt2", "aoti"),
        ("tensorrt_rtx-fp16", "tensorrt_rtx", "fp16"),
        ("two-parts-fp32", "two-parts", "fp32"),
    ],
)
def test_a_name_is_read_and_printed_back(text: str, format: str, precision: str) -> None:
    name = VariantName.parse(text)
    assert (name.format, name.precision) == (format, precision)
    assert str(name) == text
    assert name == VariantName(format, precision)


@pytest.mark.parametrize("text", ["", "onnx", "-fp32", "onnx-", "-"])
def test_what_is_not_a_name_is_said_in_one_sentence(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        VariantName.parse(text)
    assert str(caught.value) == (
        f"{text!r} is not the name of a variant\n  expected: FORMAT-PRECISION, such as onnx-fp32"
    )


def test_in_json_it_is_the_text_as_a_value_and_as_a_key() -> None:
    adapter = TypeAdapter(dict[VariantName, tuple[VariantName, ...]])
    value = {VariantName("onnx", "fp32"): (VariantName("pt2", "aoti"),)}
    assert adapter.dump_json(value) == b'{"onnx-fp32":["pt2-aoti"]}'
    assert adapter.validate_json(adapter.dump_json(value)) == value


def test_nothing_else_takes_a_name_apart() -> None:
    splits = re.compile(r"""partition\("-"\)|split\("-"|startswith\(["'](tensorrt|onnx|torchscript|pt2)""")
    found = {
        str(file.relative_to(ROOT))
        for wing in WINGS
        for file in (ROOT / wing).rglob("*.py")
        if splits.search(file.read_text(encoding="utf-8"))
    }
    others = {  # a range of CPUs such as 0-3, and names of files in the cache and in records
        "latency/device/cpu.py",
        "models/bundle/cache.py",
        "models/bundle/cache_contents.py",
        "models/records/places.py",
    }
    assert found - others == {"models/variant_name.py"}
