"""fp16 and int8 on graphs made by hand: what overflows, what is left out, how weights are rounded."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pinnace.export.precision import fp16, gptq, graphs, int8, sensitivity
from pinnace.export.precision.base import ConversionInput
from pinnace.export.precision.layers import layer_of
from pinnace.export.validation.divergence import first_divergence


def chain(path: Path, weights: list[np.ndarray], *, clip: bool = False) -> Path:
    """x -> MatMul -> MatMul -> ... -> y; square weights, with a Relu between where `clip` is set."""
    nodes, name = [], "x"
    for index, _ in enumerate(weights):
        last = index == len(weights) - 1
        nodes.append(helper.make_node("MatMul", [name, f"w{index}"], [f"t{index}"], name=f"product{index}"))
        name = f"t{index}"
        if clip and not last:
            nodes.append(helper.make_node("Relu", [name], [f"r{index}"], name=f"relu{index}"))
            name = f"r{index}"
    nodes[-1].output[0] = "y"
    size = weights[0].shape[0]
    values = [helper.make_tensor_value_info(v, TensorProto.FLOAT, ["batch", size]) for v in ("x", "y")]
    constants = [numpy_helper.from_array(w.astype(np.float32), f"w{i}") for i, w in enumerate(weights)]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def answer(model: Path | onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    data = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def samples(count: int, size: int = 4) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, size)).astype(np.float32)


# float16.


def half(path: Path, x: np.ndarray) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    out = path.with_name("half.onnx")
    converted = fp16.convert(ConversionInput(path, {"x": x}, "x"), out)
    return onnx.load(str(out)), converted.notes


def test_what_float16_holds_becomes_float16(tmp_path: Path) -> None:
    x = samples(5)
    path = chain(tmp_path / "chain.onnx", [np.eye(4), 2 * np.eye(4)])
    model, notes = half(path, x)
    assert notes == ()
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT16}
    assert [node.op_type for node in model.graph.node] == ["Cast", "MatMul", "MatMul", "Cast"]
    np.testing.assert_allclose(answer(model, x), 2 * x, rtol=1e-3)


def test_what_overflows_stays_in_float32_and_is_named(tmp_path: Path) -> None:
    x = samples(5)
    path = chain(tmp_path / "chain.onnx", [np.eye(4), 3e5 * np.eye(4), 1e-5 * np.eye(4), np.eye(4)])
    model, notes = half(path, x)
    assert notes == (
        "in half 2 nodes stay in fp32, because float16 cannot hold what flows there: product1, product2",
    )
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    half_float, single = TensorProto.FLOAT16, TensorProto.FLOAT
    assert types == {"w0": half_float, "w1": single, "w2": single, "w3": half_float}
    assert np.isfinite(answer(model, x)).all()
    np.testing.assert_allclose(answer(model, x), 3 * x, rtol=2e-3)


def test_headroom_is_kept_for_images_that_reach_further(tmp_path: Path) -> None:
    x = np.ones((1, 4), np.float32)
    for largest, kept in ((fp16.LARGEST / fp16.HEADROOM * 1.01, True), (fp16.LARGEST / 4 * 0.99, False)):
        path = chain(tmp_path / "chain.onnx", [np.eye(4), largest * np.eye(4) / 2, 2 * np.eye(4)])
        assert bool(half(path, x)[1]) is kept


def test_two_nodes_in_float32_that_read_the_same_tensor_share_one_cast(tmp_path: Path) -> None:
    path = chain(tmp_path / "chain.onnx", [np.eye(4)])
    model = onnx.load(str(path))
    model.graph.node.extend(
        [
            helper.make_node("Mul", ["t", "w1"], ["a"], name="a"),
            helper.make_node("Mul", ["t", "w2"], ["b"], name="b"),
            helper.make_node("Sub", ["a", "b"], ["y"], name="c"),
        ]
    )
    model.graph.node[0].output[0] = "t"
    for name, value in (("w1", 2e5), ("w2", 2e5 - 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.full(4, value, np.float32), name))
    onnx.save(model, str(path))
    x = samples(5)
    converted, notes = half(path, x)
    assert "3 nodes" in notes[0]
    np.testing.assert_allclose(answer(converted, x), x, rtol=2e-2, atol=1e-2)
    onnx.checker.check_model(converted, full_check=True)


# int8.


def test_multiplications_by_hand() -> None:
    values = {
        "x": [1, 4, 8, 8], "c": [1, 6, 8, 8], "d": [1, 6, 8, 8],
        "s": [1, 6, 8, 8], "f": [1, 384], "y": [1, 10],
    }  # fmt: skip
    weights = {"wc": (6, 4, 3, 3), "wd": (6, 1, 3, 3), "wy": (10, 384)}
    nodes = [
        helper.make_node("Conv", ["x", "wc"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "wd"], ["d"], name="depthwise", pads=[1, 1, 1, 1], group=6),
        helper.make_node("Add", ["c", "d"], ["s"], name="add"),
        helper.make_node("Flatten", ["s"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "wy"], ["y"], name="head", transB=1),
    ]
    made = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in values.items()}
    constants = [numpy_helper.from_array(np.zeros(shape, np.float32), n) for n, shape in weights.items()]
    graph = helper.make_graph(nodes, "g", [made["x"]], [made["y"]], constants)
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph))
    assert sensitivity.multiplications(model) == {
        "conv": 6 * 8 * 8 * 4 * 9, "depthwise": 6 * 8 * 8 * 9, "add": 6 * 8 * 8, "head": 10 * 384
    }  # fmt: skip


def test_relative_error_by_hand() -> None:
    reference = np.float32([[0, 2], [1, 5]])
    answers = np.float32([[0, 2], [1, 6]])
    assert sensitivity.relative_error(reference, answers) == pytest.approx((0 + 1 / 8) / 2)
    assert sensitivity.relative_error(reference, np.float32([[0, np.nan], [1, 5]])) == np.inf


def test_the_nodes_that_hurt_are_found_and_nothing_else_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensitivity, "MOST_WORK", 0.5)
    rng = np.random.default_rng(0)
    weights = [np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(8)]
    base = onnx.shape_inference.infer_shapes(onnx.load(str(chain(tmp_path / "chain.onnx", weights))))
    hurt = {"product4": 0.5, "product5": 0.3}

    def quantise(left_out: Collection[str]) -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(base)
        for index, tensor in enumerate(model.graph.initializer):
            if f"product{index}" not in left_out and (by := hurt.get(f"product{index}")):
                spoilt = numpy_helper.to_array(tensor) + np.float32(by) * np.eye(4, dtype=np.float32)
                tensor.CopyFrom(numpy_helper.from_array(spoilt, tensor.name))
        return model

    material = ConversionInput(tmp_path / "chain.onnx", {}, "x", samples(20))
    assert sensitivity.nodes_to_leave_out(base, quantise, material) == ["product4", "product5"]
    hurt.clear()
    assert sensitivity.nodes_to_leave_out(base, quantise, material) == []


def test_no_more_work_is_left_out_than_allowed(tmp_path: Path) -> None:
    weights = [np.eye(4) for _ in range(8)]
    base = onnx.shape_inference.infer_shapes(onnx.load(str(chain(tmp_path / "chain.onnx", weights))))

    def quantise(left_out: Collection[str]) -> onnx.ModelProto:
        assert not left_out  # two of eight equal nodes are a quarter of the work
        model = onnx.ModelProto()
        model.CopyFrom(base)
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((4, 4), np.float32), "w0"))
        return model

    assert (
        sensitivity.nodes_to_leave_out(base, quantise, ConversionInput(tmp_path, {}, "x", samples(4))) == []
    )


def test_rounded_weights_keep_the_outputs_closer_than_the_nearest_steps_do() -> None:
    rng = np.random.default_rng(0)
    light = rng.uniform(1, 2, size=(200, 1)) + 0.05 * rng.normal(size=(200, 9))  # nearly the same everywhere
    edges = rng.normal(size=(5, 9))
    edges -= edges.mean(axis=1, keepdims=True)
    scales = np.abs(edges).max(axis=1) / 15
    steps = gptq.rounded(edges[None], scales[None], light.T[None] @ light[None])[0]
    nearest = np.round(edges / scales[:, None])
    assert np.array_equal(steps, np.round(steps))
    assert np.abs(steps - edges / scales[:, None]).max() < 2

    def error(rounded: np.ndarray) -> float:
        return float((((rounded * scales[:, None] - edges) @ light.T) ** 2).mean())

    assert error(steps) < error(nearest) / 4


def test_a_convolution_sees_the_windows_that_its_filters_see() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 4, 7, 6)).astype(np.float32)
    weights = rng.normal(size=(6, 2, 3, 2)).astype(np.float32)
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], group=2, pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2]
    )
    layer = layer_of(node, weights.astype(np.float64), np.ones(6), "w")
    assert layer is not None
    seen = layer.seen(image, places=1000, seed=0)
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "y")]
    graph = helper.make_graph([node], "g", values[:1], values[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    expected = answer(model, image)
    got = (layer.weights @ seen.transpose(0, 2, 1)).reshape(6, -1)
    made = layer.made(expected, places=1000, seed=0).transpose(0, 2, 1).reshape(6, -1)
    np.testing.assert_allclose(got, made, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.sort(got.ravel()), np.sort(expected.ravel()), rtol=1e-4, atol=1e-5)


def test_the_output_of_the_graph_is_not_quantised(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = chain(tmp_path / "chain.onnx", [rng.normal(size=(4, 4)) for _ in range(3)], clip=True)
    x = samples(40)
    int8.convert(ConversionInput(path, {"x": x[:3]}, "x", x), tmp_path / "int8.onnx", symmetric=False)
    model = onnx.load(str(tmp_path / "int8.onnx"))
    (maker,) = [node for node in model.graph.node if "y" in node.output]
    assert maker.op_type == "MatMul"
    used = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used


# Where two graphs part.


def test_the_first_node_that_differs_is_named(tmp_path: Path) -> None:
    weights = [np.eye(4)] * 6
    one = chain(tmp_path / "one.onnx", weights)
    other = chain(tmp_path / "other.onnx", [*weights[:3], 1.5 * np.eye(4), *weights[4:]])
    found = first_divergence(one, other, {"x": samples(6)})
    assert found is not None
    assert str(found) == "product3 (MatMul), whose output is off by 0.5 of its size"
    assert first_divergence(one, one, {"x": samples(6)}) is None


def test_nodes_are_put_into_an_order_in_which_they_can_run(tmp_path: Path) -> None:
    path = chain(tmp_path / "chain.onnx", [np.eye(4)] * 5)
    model = onnx.load(str(path))
    nodes = list(model.graph.node)[::-1]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    graphs.sort_nodes(model)
    onnx.checker.check_model(model)
    assert [node.name for node in model.graph.node] == [f"product{index}" for index in range(5)]
