"""What ONNX files of other tools take: layouts, dtypes, dimensions, and a normalisation of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from pinnace.export.preprocessing import Changes
from pinnace.export.validation.verify import passed, verify_bundle
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.image.decode import open_image
from support.onnx_files import (
    CHW,
    EDGE,
    IMAGENET,
    PHOTOGRAPHS,
    SQUEEZED,
    assert_answers_like,
    pixels,
    with_nodes,
    with_start,
)

pytestmark = pytest.mark.slow

Export = Callable[..., Bundle]
f = np.float32

UNIT: list[tuple[Any, ...]] = [("Div", ["data", "k"], ["x"], {})]
BYTES: list[tuple[Any, ...]] = [
    ("Cast", ["data"], ["a"], {"to": TensorProto.FLOAT}),
    ("Div", ["a", "k"], ["x"], {}),
]
TURNED: list[tuple[Any, ...]] = [("Transpose", ["data"], ["x"], {"perm": [0, 3, 1, 2]})]
LAST: list[tuple[Any, ...]] = [
    ("Div", ["data", "k"], ["a"], {}),
    ("Sub", ["a", "o"], ["b"], {}),
    ("Transpose", ["b"], ["x"], {"perm": [0, 3, 1, 2]}),
]
FLOAT = TensorProto.FLOAT
BYTES_LAST = [("Cast", ["data"], ["f"], {"to": FLOAT}), ("Div", ["f", "k"], ["a"], {}), *LAST[1:]]


@pytest.mark.parametrize(
    ("nodes", "constants", "kind", "dims", "made"),
    [
        (UNIT, {"k": f(255)}, FLOAT, ["b", 3, EDGE, EDGE], lambda x: x.transpose(CHW)),
        (BYTES, {"k": f(255)}, TensorProto.UINT8, ["b", 3, EDGE, EDGE],
         lambda x: x.astype(np.uint8).transpose(CHW)),
        (BYTES, {"k": f(255)}, TensorProto.INT32, ["b", 3, EDGE, EDGE],
         lambda x: x.astype(np.int32).transpose(CHW)),
        ([("Cast", ["data"], ["x"], {"to": FLOAT})], {}, TensorProto.INT32, ["b", 3, EDGE, EDGE],
         lambda x: x.astype(np.int32).transpose(CHW)),
        (BYTES_LAST, {"k": f(127.5), "o": f(1)}, TensorProto.INT64, ["b", EDGE, EDGE, 3],
         lambda x: x.astype(np.int64)),
        (LAST, {"k": f(127.5), "o": f(1)}, FLOAT, ["b", EDGE, EDGE, 3], np.asarray),
        (TURNED, {}, FLOAT, ["b", EDGE, EDGE, 3],
         lambda x: (x / f(255) - f(0.5)) / f(0.5)),
        ([("Cast", ["data"], ["x"], {"to": FLOAT})], {}, TensorProto.FLOAT16, ["b", 3, EDGE, EDGE],
         lambda x: ((x / f(255) - IMAGENET[0]) / IMAGENET[1]).transpose(CHW).astype(np.float16)),
        ([("Identity", ["data"], ["x"], {})], {}, FLOAT, ["b", "c", EDGE, EDGE],
         lambda x: ((x / f(255) - IMAGENET[0]) / IMAGENET[1]).transpose(CHW)),
    ],
    ids=[
        *("0..255 inside", "uint8", "int32", "int32 alone", "int64, channels last"),
        *("channels last, inside", "channels last", "float16", "any channels"),
    ],
)  # fmt: skip
def test_what_a_file_takes_is_seen(
    plain: Path, tmp_path: Path, export: Export, nodes: list[tuple[Any, ...]], constants: dict[str, Any],
    kind: int, dims: list[Any], made: Callable[[np.ndarray], np.ndarray],
) -> None:  # fmt: skip
    with_start(plain, tmp_path / "n.onnx", nodes, constants, kind, dims)
    assert_answers_like(export(tmp_path / "n.onnx", changes=SQUEEZED), tmp_path / "n.onnx", made)


@pytest.mark.parametrize(
    "dims",
    [
        ["batch_size", "num_channels", "height", "width"],
        [None, 3, None, None],
        ["unk__1", 3, "unk__2", "unk__3"],
        ["DynamicDimension.0", "DynamicDimension.1", "DynamicDimension.2", "DynamicDimension.3"],
        [-1, 3, EDGE, EDGE],
        ["?", "?", "?", "?"],
    ],
    ids=str,
)
def test_dimensions_as_exporters_write_them(
    plain: Path, tmp_path: Path, export: Export, dims: list[Any]
) -> None:
    with_start(plain, tmp_path / "n.onnx", [("Identity", ["data"], ["x"], {})], {}, TensorProto.FLOAT, dims)
    bundle = export(tmp_path / "n.onnx", changes=SQUEEZED)
    assert str(bundle.manifest.signature.inputs[0]) == f"data=float32[batch,3,{EDGE},{EDGE}]"
    assert_answers_like(
        bundle, tmp_path / "n.onnx", lambda x: ((x / f(255) - IMAGENET[0]) / IMAGENET[1]).transpose(CHW)
    )


FLAT = (28, 20)
UNSQUEEZED = [("Unsqueeze", ["x", "one"], ["planes"], {})]
CONVOLVED = [
    ("Conv", ["planes", "kernel"], ["c"], {}),
    ("GlobalAveragePool", ["c"], ["p"], {}),
    ("Flatten", ["p"], ["y"], {}),
]
RNG = np.random.default_rng(0)
KERNEL = {"one": np.array([1]), "kernel": RNG.normal(size=(4, 1, 3, 3)).astype(f)}
MATRIX = {"shape": np.array([0, -1]), "w": RNG.normal(size=(28 * 20, 4)).astype(f)}
PRODUCT = [("Reshape", ["x", "shape"], ["flat"], {}), ("MatMul", ["flat", "w"], ["y"], {})]


@pytest.mark.parametrize(
    ("nodes", "constants", "kind", "scale"),
    [
        ([("Identity", ["data"], ["x"], {}), *UNSQUEEZED, *CONVOLVED], KERNEL, FLOAT, 255),
        ([("Div", ["data", "k"], ["x"], {}), *UNSQUEEZED, *CONVOLVED], {"k": f(255), **KERNEL}, FLOAT, 1),
        ([("Cast", ["data"], ["x"], {"to": FLOAT}), *UNSQUEEZED, *CONVOLVED], KERNEL, TensorProto.UINT8, 1),
        ([("Identity", ["data"], ["x"], {}), *PRODUCT], MATRIX, FLOAT, 255),
        ([("Cast", ["data"], ["a"], {"to": FLOAT}), ("Div", ["a", "k"], ["x"], {}), *PRODUCT],
         {"k": f(255), **MATRIX}, TensorProto.INT32, 1),
        ([("Div", ["data", "k"], ["x"], {}), *PRODUCT], {"k": f(255), **MATRIX}, FLOAT, 1),
    ],
    ids=["convolution", "0..255 inside", "uint8", "product", "product of int32", "product of 0..255"],
)  # fmt: skip
def test_grey_images_without_a_dimension_for_channels(
    tmp_path: Path, export: Export, nodes: list[tuple[Any, ...]], constants: dict[str, Any], kind: int,
    scale: float,
) -> None:  # fmt: skip
    """[N, height, width], as Keras' `Input((28, 28))` writes it."""
    with_nodes(tmp_path / "grey.onnx", nodes, constants, kind, ["n", *FLAT])
    bundle = export(tmp_path / "grey.onnx", changes=Changes(resize=FLAT))
    assert (bundle.preprocess.layout, bundle.preprocess.color) == ("NHW", "L")
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    assert str(bundle.manifest.signature.inputs[0]) == f"data={dtype}[batch,28,20]"
    session = onnxruntime.InferenceSession(str(tmp_path / "grey.onnx"))
    with Classifier(bundle) as classifier:
        for photograph in PHOTOGRAPHS:
            grey = Image.open(photograph).convert("L").resize(FLAT[::-1], Image.Resampling.BILINEAR)
            fed = (np.asarray(grey, f) / f(scale)).astype(dtype)[None]
            given = classifier.prepare(open_image(photograph))
            np.testing.assert_array_equal(given, fed, strict=True)
            wanted = session.run(None, {"data": fed})[0]
            np.testing.assert_allclose(classifier.infer(given), wanted, rtol=1e-4, atol=1e-3)
    assert passed(verify_bundle(bundle))


@pytest.mark.parametrize(
    ("nodes", "dims"),
    [
        ([("MatMul", ["data", "token"], ["t"], {}), ("ReduceMean", ["t", "one"], ["y"], {"keepdims": 0})],
         ["n", 28, 20]),
        ([("Unsqueeze", ["data", "one"], ["planes"], {}), *CONVOLVED], ["n", 28, 3]),
    ],
    ids=["tokens", "a signal"],
)  # fmt: skip
def test_three_dimensions_that_are_no_image(
    tmp_path: Path, export: Export, nodes: list[tuple[Any, ...]], dims: list[Any]
) -> None:
    constants = {"token": RNG.normal(size=(20, 4)).astype(f), **KERNEL}
    with_nodes(tmp_path / "tokens.onnx", nodes, constants, FLOAT, dims)
    assert export(tmp_path / "tokens.onnx").manifest.preprocess is None


def test_a_size_that_nobody_says_is_assumed_and_said(plain: Path, tmp_path: Path, export: Export) -> None:
    dims = ["b", 3, "height", "width"]
    with_start(plain, tmp_path / "n.onnx", [("Identity", ["data"], ["x"], {})], {}, TensorProto.FLOAT, dims)
    bundle = export(tmp_path / "n.onnx")
    assert bundle.preprocess.crop == (224, 224)
    assert any("shortest edge to 256 and centre crop 224x224" in note for note in bundle.manifest.notes)


def test_a_fixed_batch_is_served(network: torch.nn.Module, tmp_path: Path, export: Export) -> None:
    torch.onnx.export(
        network, (torch.rand(3, 3, EDGE, EDGE),), str(tmp_path / "three.onnx"), dynamo=False, opset_version=17
    )
    bundle = export(tmp_path / "three.onnx", changes=SQUEEZED)
    assert bundle.manifest.signature.batch == 3
    assert_answers_like(
        bundle, tmp_path / "three.onnx", lambda x: ((x / f(255) - IMAGENET[0]) / IMAGENET[1]).transpose(CHW)
    )
    with Classifier(bundle) as classifier:
        images = np.concatenate([classifier.prepare(open_image(path)) for path in PHOTOGRAPHS * 2])
        together = classifier.infer(images)
        assert together.shape == (4, 4)
        np.testing.assert_allclose(together[0], classifier.infer(images[:1])[0], atol=1e-5)


@pytest.mark.parametrize(
    ("scale", "zero_point", "made"),
    [
        (1 / 255, -128, lambda x: x / f(255)),
        (1 / 128, 0, lambda x: x / f(127.5) - 1),
        (1.0, -128, lambda x: x),
        (0.018658, -14, lambda x: (x / f(255) - IMAGENET[0]) / IMAGENET[1]),
    ],
    ids=["0..1", "-1..1", "0..255", "ImageNet"],
)
def test_an_input_of_int8_is_an_image(
    plain: Path, tmp_path: Path, export: Export, scale: float, zero_point: int,
    made: Callable[[np.ndarray], np.ndarray],
) -> None:  # fmt: skip
    """As tf2onnx writes TensorFlow Lite's quantised models: int8, channels last, then DequantizeLinear."""
    nodes: list[tuple[Any, ...]] = [
        ("DequantizeLinear", ["data", "s", "z"], ["a"], {}),
        ("Transpose", ["a"], ["x"], {"perm": [0, 3, 1, 2]}),
    ]
    constants = {"s": f(scale), "z": np.int8(zero_point)}
    with_start(plain, tmp_path / "n.onnx", nodes, constants, TensorProto.INT8, [1, EDGE, EDGE, 3])
    bundle = export(tmp_path / "n.onnx", changes=SQUEEZED)
    assert str(bundle.manifest.signature.inputs[0]) == f"data=int8[1,{EDGE},{EDGE},3]"
    (note,) = [note for note in bundle.manifest.notes if note.startswith("the input is int8 with scale")]
    assert f"zero point {zero_point}" in note

    def quantised_by_hand(x: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(made(x) / f(scale)) + zero_point, -128, 127).astype(np.int8)

    session = onnxruntime.InferenceSession(str(tmp_path / "n.onnx"))
    with Classifier(bundle) as classifier:
        for photograph in PHOTOGRAPHS:
            fed = quantised_by_hand(pixels(photograph))[None]
            given = classifier.prepare(open_image(photograph))
            # Halves may be rounded to the other side.
            assert np.abs(given.astype(int) - fed).max() <= 1
            assert (given != fed).mean() < 1e-3
            np.testing.assert_allclose(
                classifier.infer(given), session.run(None, {"data": given})[0], rtol=1e-4, atol=1e-4
            )
    assert passed(verify_bundle(bundle))


def test_an_input_of_int8_whose_numbers_nobody_explains(plain: Path, tmp_path: Path, export: Export) -> None:
    nodes: list[tuple[Any, ...]] = [("Cast", ["data"], ["x"], {"to": TensorProto.FLOAT})]
    with_start(plain, tmp_path / "n.onnx", nodes, {}, TensorProto.INT8, ["b", 3, EDGE, EDGE])
    bundle = export(tmp_path / "n.onnx", changes=SQUEEZED)
    assert any("a pixel of 0..255 is given as pixel - 128" in note for note in bundle.manifest.notes)
    assert_answers_like(bundle, tmp_path / "n.onnx", lambda x: (x - 128).astype(np.int8).transpose(CHW))
