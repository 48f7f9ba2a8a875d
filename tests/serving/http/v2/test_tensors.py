"""Tensors of other types than float32: as bytes, and as numbers in JSON."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest

from pinnace.models.bundle.signature import TensorSpec
from pinnace.models.errors import UsageError
from pinnace.models.image.preprocess import InputDtype
from pinnace.serving.errors import MalformedBody
from pinnace.serving.http.v2.tensors import InputLimits, parse_request, read_items
from support.errors import refusal

TYPES = {
    **{"uint8": "UINT8", "int8": "INT8", "int32": "INT32", "int64": "INT64"},
    **{"float16": "FP16", "float32": "FP32", "float64": "FP64"},
}


def limits(dtype: str) -> InputLimits:
    return InputLimits(TensorSpec("data", dtype, ("batch", 2, 3, 3)), 8, 1 << 20)


def pixels(dtype: str) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 2, 3, 3)).astype(dtype)


def asked(dtype: str, datatype: str, data: object = None, size: int | None = None) -> bytes:
    tensor: dict[str, object] = {"name": "data", "shape": [4, 2, 3, 3], "datatype": datatype}
    tensor |= {"data": data} if size is None else {"parameters": {"binary_data_size": size}}
    return json.dumps({"inputs": [tensor]}).encode()


def test_every_type_that_an_image_model_takes_has_a_name() -> None:
    assert set(get_args(InputDtype)) == set(TYPES)


@pytest.mark.parametrize("dtype", TYPES)
def test_what_a_model_takes_arrives_as_it_was_sent(dtype: str) -> None:
    wanted = pixels(dtype)
    raw = wanted.tobytes()
    for text, binary in (
        (asked(dtype, TYPES[dtype], wanted.ravel().tolist()), b""),
        (asked(dtype, TYPES[dtype], size=len(raw)), raw),
    ):
        items = read_items(parse_request(text, limits(dtype)), memoryview(binary), limits(dtype))
        np.testing.assert_array_equal(np.concatenate(items), wanted, strict=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [256, -1, 0.5])
def test_numbers_that_bytes_do_not_hold(value: float) -> None:
    data = pixels("uint8").ravel().tolist()
    request = parse_request(asked("uint8", "UINT8", [value, *data[1:]]), limits("uint8"))
    assert refusal(UsageError, read_items, request, memoryview(b""), limits("uint8")) == (
        "the data of data has numbers that uint8 does not hold"
    )


def test_another_type_than_the_models() -> None:
    request = parse_request(asked("uint8", "FP32", [0.0] * 72), limits("uint8"))
    assert "the datatype of data is wrong\n  expected: UINT8, or BYTES" in refusal(
        UsageError, read_items, request, memoryview(b""), limits("uint8")
    )
    odd = parse_request(asked("float16", "FP16", size=3), limits("float16"))
    assert "3 bytes" in refusal(MalformedBody, read_items, odd, memoryview(b"abc"), limits("float16"))
