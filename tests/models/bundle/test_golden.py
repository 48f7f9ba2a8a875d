"""Golden data: what a model cannot be compared with is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pinnace.models.bundle import golden
from pinnace.models.bundle.golden import Arrays
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.errors import BundleError
from support.errors import refusal

SIGNATURE = Signature(
    (TensorSpec("input", "float32", ("batch", 3)),), (TensorSpec("logits", "float32", ("batch", 2)),)
)


def good() -> tuple[Arrays, Arrays]:
    return {"input": np.ones((4, 3), np.float32)}, {"logits": np.ones((4, 2), np.float32)}


def packed(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"garbage",
        packed(a=np.zeros(3))[:-30],
        packed(a=np.array([object()], dtype=object)),
        np.zeros(3).tobytes(),
    ],
    ids=["nothing", "zeros", "garbage", "cut short", "a pickle", "numbers"],
)
def test_what_is_no_archive_of_arrays(data: bytes) -> None:
    message = refusal(BundleError, golden.parse, data, Path("golden.npz"))
    assert message.startswith("the golden data golden.npz cannot be read: ")
    assert len(message.splitlines()) == 2


def test_one_array_alone() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    assert "cannot be read" in refusal(BundleError, golden.parse, buffer.getvalue(), Path("golden.npz"))


def test_good_data_pass() -> None:
    golden.check(SIGNATURE, *good(), 4, Path("golden.npz"))


def _set(kind: int, index: int, value: float) -> Callable[[tuple[Arrays, Arrays]], None]:
    def change(arrays: tuple[Arrays, Arrays]) -> None:
        (array,) = arrays[kind].values()
        array.flat[index] = value  # type: ignore[index]

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set(0, 5, np.nan), "input input holds NaN or infinity"),
        (_set(1, 7, np.nan), "output logits holds NaN or infinity"),
        (_set(1, 0, -np.inf), "output logits holds NaN or infinity"),
        (lambda arrays: arrays[0].clear(), "input input is missing"),
        (lambda arrays: arrays[1].clear(), "output logits is missing"),
        (lambda arrays: arrays[1].update(logits=np.ones((4, 3), np.float32)), "another dtype or shape"),
        (lambda arrays: arrays[1].update(logits=np.ones((4, 2), np.float64)), "another dtype or shape"),
        (lambda arrays: arrays[1].update(logits=np.full((4, 2), "a")), "another dtype or shape"),
        (lambda arrays: arrays[0].update(input=np.ones((3, 3), np.float32)), "another dtype or shape"),
        (lambda arrays: arrays[0].update(input=np.ones((), np.float32)), "another dtype or shape"),
        (
            lambda arrays: (
                arrays[0].update(input=np.ones((0, 3), np.float32)),
                arrays[1].update(logits=np.ones((0, 2), np.float32)),
            ),
            "another dtype or shape",
        ),
    ],
)
def test_data_that_nothing_can_be_compared_with(
    change: Callable[[tuple[Arrays, Arrays]], None], reason: str
) -> None:
    arrays = good()
    change(arrays)
    message = refusal(BundleError, golden.check, SIGNATURE, *arrays, 4, Path("golden.npz"))
    assert message.startswith("the golden data golden.npz: ")
    assert reason in message


def test_a_model_that_knows_no_batch_has_its_samples_behind_one_another() -> None:
    signature = Signature((TensorSpec("a", "float32", (3,)),), (TensorSpec("b", "int64", ()),))
    golden.check(
        signature, {"a": np.ones((4, 3), np.float32)}, {"b": np.ones(4, np.int64)}, 4, Path("golden.npz")
    )
