"""Sums of products of uint8 and int8 are exact, also where the fast instruction saturates at 16 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pinnace.models.bundle.signature import Signature, TensorSpec
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
