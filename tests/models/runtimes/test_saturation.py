"""Sums of products of uint8 and int8 are exact, also where the fast instruction saturates at 16 bits."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.cpus import saturates
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import RuntimeOptions

CHANNELS = 16
SIGNATURE = Signature(
    (TensorSpec("x", "float32", ("batch", CHANNELS, 8, 8)),),
    (TensorSpec("y", "float32", ("batch", CHANNELS, 8, 8)),),
)


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution of 1 x 1 whose every input, weight and output is an integer, all products the largest."""
    weights = np.full((CHANNELS, CHANNELS, 1, 1), 127, np.int8)
    arrays = {
        "one": np.float32(1),
        "scales": np.ones(CHANNELS, np.float32),
        "large": np.float32(CHANNELS * 127),
        "zero": np.uint8(0),
        "zeros": np.zeros(CHANNELS, np.int8),
        "integers": weights,
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["qx"]),
        helper.make_node("DequantizeLinear", ["qx", "one", "zero"], ["dx"]),
        helper.make_node("DequantizeLinear", ["integers", "scales", "zeros"], ["w"], axis=0),
        helper.make_node("Conv", ["dx", "w"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "large", "zero"], ["qc"]),
        helper.make_node("DequantizeLinear", ["qc", "large", "zero"], ["y"]),
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", CHANNELS, 8, 8])
        for name in ("x", "y")
    )
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], stored),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.checker.check_model(model, full_check=True)
    path = tmp_path_factory.mktemp("quantised") / "conv.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_the_largest_products_are_added_exactly(name: str, quantised: Path) -> None:
    reader = all_runtimes()[name]
    if (problem := reader.unavailable_reason()) is not None:
        pytest.skip(f"{name}: {problem}")
    images = np.full((1, CHANNELS, 8, 8), 255, np.float32)
    with reader(quantised, SIGNATURE, RuntimeOptions(threads=1)) as runtime:
        np.testing.assert_array_equal(runtime.run({"x": images})["y"], 255 * CHANNELS * 127)


def quantised_matrix(path: Path) -> None:
    """A fully connected layer of the operators that hold integers themselves (QGemm among them)."""
    weights = np.full((4, 3), 127, np.int8)
    arrays = {"one": np.float32(1), "zero": np.uint8(0), "null": np.int8(0), "integers": weights}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["qx"]),
        helper.make_node(
            "QGemm",
            ["qx", "one", "zero", "integers", "one", "null"],
            ["y"],
            domain="com.microsoft",
        ),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], stored), opset_imports=opsets, ir_version=10
    )
    onnx.save(model, path)


@pytest.mark.skipif(saturates(), reason="without VNNI the exact product is needed, which has no QGemm")
def test_operators_of_integers_load_where_products_do_not_saturate(tmp_path: Path) -> None:
    quantised_matrix(tmp_path / "gemm.onnx")
    signature = Signature(
        (TensorSpec("x", "float32", ("batch", 4)),), (TensorSpec("y", "float32", ("batch", 3)),)
    )
    with all_runtimes()["onnxruntime"](
        tmp_path / "gemm.onnx", signature, RuntimeOptions(threads=1)
    ) as runtime:
        answer = runtime.run({"x": np.full((2, 4), 255, np.float32)})["y"]
    np.testing.assert_array_equal(answer, np.full((2, 3), 4 * 255 * 127, np.float32))


def is_exact(options: Any) -> bool:
    try:
        return bool(options.get_session_config_entry("session.x64quantprecision") == "1")
    except RuntimeError:  # nobody set it
        return False


@pytest.mark.parametrize("saturating", [False, True])
def test_the_slower_exact_product_is_taken_only_where_the_fast_one_saturates(
    quantised: Path, monkeypatch: pytest.MonkeyPatch, saturating: bool
) -> None:
    module = importlib.import_module("pinnace.models.runtimes.onnxruntime")
    monkeypatch.setattr(module, "saturates", lambda: saturating)
    with all_runtimes()["onnxruntime"](quantised, SIGNATURE, RuntimeOptions(threads=1)) as runtime:
        assert is_exact(runtime._session.get_session_options()) is saturating  # type: ignore[attr-defined]
