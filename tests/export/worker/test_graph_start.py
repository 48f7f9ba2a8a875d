"""What the first nodes of a graph do to an image is seen, however an exporter wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pinnace.export.worker.graph_start import GraphStart, read
from pinnace.export.worker.onnx_graph import OnnxGraph
from pinnace.models.bundle.signature import TensorSpec

Node = tuple[str, list[str], list[str], dict[str, Any]]

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
UNIT_MEAN, UNIT_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def planes(values: Sequence[float]) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def start_of(
    folder: Path,
    nodes: Sequence[Node],
    constants: dict[str, Any],
    *,
    shape: Sequence[int | str] = ("batch", 3, 16, 16),
    dtype: str = "float32",
    channels: int = 3,
) -> GraphStart:
    """A graph that begins with nodes which make `image` of `x`, and ends in a convolution of it."""
    weights = np.random.default_rng(0).normal(size=(4, channels, 3, 3)).astype(np.float32)
    stored = {"weights": weights, **constants}
    graph = helper.make_graph(
        [helper.make_node(op, ins, outs, **more) for op, ins, outs, more in nodes]
        + [helper.make_node("Conv", ["image" if nodes else "x", "weights"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10),
        folder / "n.onnx",
    )
    return read(OnnxGraph.read(folder / "n.onnx"), TensorSpec("x", dtype, tuple(shape)))


def normalised(mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """The constants of a batch normalisation."""
    arrays = {"g": np.ones(3), "b": np.zeros(3), "m": np.array(mean), "v": np.array(std) ** 2}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


f = np.float32
BATCH_NORM: Node = ("BatchNormalization", ["x", "g", "b", "m", "v"], ["image"], {"epsilon": 0.0})


@pytest.mark.parametrize(
    ("nodes", "constants", "takes", "color"),
    [
        ([], {}, "nothing", None),
        ([("Identity", ["x"], ["image"], {})], {}, "nothing", None),
        ([("Div", ["x", "k"], ["image"], {})], {"k": f(255)}, 255, None),
        ([("Mul", ["x", "k"], ["image"], {})], {"k": f(1 / 255)}, 255, None),
        ([("Mul", ["x", "k"], ["a"], {}), ("Add", ["a", "o"], ["image"], {})],
         {"k": f(1 / 127.5), "o": f(-1)}, 255, None),
        ([("Sub", ["x", "m"], ["a"], {}), ("Div", ["a", "s"], ["image"], {})],
         {"m": planes(MEAN), "s": planes(STD)}, 255, "RGB"),
        ([("Sub", ["x", "m"], ["image"], {})], {"m": planes((103.939, 116.779, 123.68))}, 255, "BGR"),
        ([("Gather", ["x", "i"], ["a"], {"axis": 1}), ("Sub", ["a", "m"], ["image"], {})],
         {"i": np.array([2, 1, 0]), "m": planes((103.939, 116.779, 123.68))}, 255, "RGB"),
        ([("Sub", ["x", "m"], ["a"], {}), ("Div", ["a", "s"], ["image"], {})],
         {"m": planes(UNIT_MEAN), "s": planes(UNIT_STD)}, 1, "RGB"),
        ([("Mul", ["x", "k"], ["a"], {}), ("Sub", ["a", "o"], ["image"], {})],
         {"k": f(2), "o": f(1)}, 1, None),
        ([("Mul", ["x", "k"], ["a"], {}), ("Sub", ["a", "m"], ["image"], {})],
         {"k": f(255), "m": planes((103.939, 116.779, 123.68))}, 1, "BGR"),
        ([BATCH_NORM], normalised(MEAN, STD), 255, "RGB"),
        ([BATCH_NORM], normalised(UNIT_MEAN, UNIT_STD), 1, "RGB"),
        # torchvision's Inception turns ImageNet's normalisation into another: images were normalised before.
        ([("Mul", ["x", "s"], ["a"], {}), ("Add", ["a", "m"], ["image"], {})],
         {"s": planes((0.458, 0.448, 0.45)), "m": planes((-0.03, -0.088, -0.188))}, None, None),
    ],
)  # fmt: skip
def test_a_normalisation_is_seen(
    tmp_path: Path, nodes: list[Node], constants: dict[str, Any], takes: object, color: str | None
) -> None:
    start = start_of(tmp_path, nodes, constants)
    assert (start.layout, start.channels) == ("NCHW", 3)
    if takes == "nothing":
        assert start.inside is None
    else:
        assert start.inside is not None
        assert (start.inside.takes, start.inside.color) == (takes, color)


def test_channels_last_and_bytes(tmp_path: Path) -> None:
    nodes: list[Node] = [
        ("Cast", ["x"], ["a"], {"to": TensorProto.FLOAT}),
        ("Div", ["a", "k"], ["b"], {}),
        ("Transpose", ["b"], ["image"], {"perm": [0, 3, 1, 2]}),
    ]
    for shape in (("batch", 16, 16, 3), ("a", "b", "c", "d"), (1, "h", "w", 3), ("n", "h", "w", "channels")):
        start = start_of(tmp_path, nodes, {"k": f(255)}, shape=shape, dtype="uint8")
        assert (start.layout, start.channels) == ("NHWC", 3)
        assert start.inside is not None
        assert start.inside.takes == 255


@pytest.mark.parametrize(
    "shape", [("b", "c", "h", "w"), ("batch_size", "num_channels", "height", "width"), ("?", "?", "?", "?")]
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_that_no_dimension_names_are_those_of_the_weights(
    tmp_path: Path, shape: tuple[str, ...], channels: int
) -> None:
    start = start_of(tmp_path, [], {}, shape=shape, channels=channels)
    assert (start.layout, start.channels, start.inside) == ("NCHW", channels, None)


def test_what_is_no_normalisation(tmp_path: Path) -> None:
    exponential: list[Node] = [("Exp", ["x"], ["image"], {})]
    assert start_of(tmp_path, exponential, {}).inside is None
    mixture: list[Node] = [
        ("ReduceMean", ["x", "axes"], ["mean"], {}),
        ("Sub", ["x", "mean"], ["image"], {}),
    ]
    assert start_of(tmp_path, mixture, {"axes": np.array([1])}).inside is None
