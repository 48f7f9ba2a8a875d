"""Weights in files beside a graph: taken where they stand, or refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pinnace.export.formats.onnx import external
from pinnace.export.worker.onnx_graph import OnnxGraph
from pinnace.models.errors import SourceError
from support.errors import refusal

A, B = (np.random.default_rng(seed).normal(size=(20, 20)).astype(np.float32) for seed in (0, 1))
BIAS = np.arange(20, dtype=np.float32)
INNER = np.arange(300, dtype=np.float32).reshape(15, 20)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A graph whose two large weights, small bias and constant of a node all stand in `w.bin`."""
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["1"]),
        helper.make_node("Gemm", ["1", "b", "bias"], ["2"]),
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(INNER)),
        helper.make_node("MatMul", ["c", "2"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [20, 20])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [15, 20])],
        [numpy_helper.from_array(array, name) for name, array in (("a", A), ("b", B), ("bias", BIAS))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = {"save_as_external_data": True, "size_threshold": 0, "convert_attribute": True}
    onnx.save(model, tmp_path / "net.onnx", location="w.bin", **options)
    return tmp_path / "net.onnx"


def change(path: Path, name: str, **entries: object) -> None:
    """Say something else of where a weight stands."""
    model = onnx.load(path, load_external_data=False)
    (tensor,) = (each for each in model.graph.initializer if each.name == name)
    for entry in tensor.external_data:
        entry.value = str(entries.pop(entry.key, entry.value))
    assert not entries
    path.write_bytes(model.SerializeToString())


def answer(path: Path) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": np.eye(20, dtype=np.float32)})[0]
    return result


@pytest.mark.parametrize("largest", [external.LARGEST, 500])
def test_large_weights_stay_where_they_are_and_are_written_into_one_file_or_two(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    graph = OnnxGraph.read(saved)
    assert set(graph.weights) == {"a", "b"}
    assert graph.model.ByteSize() < A.nbytes + INNER.nbytes  # neither of them is in it
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(external, "LARGEST", largest)
    graph.write(tmp_path / "out" / "net.onnx")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == (["net.onnx"] if largest > 500 else ["net.onnx", "net.onnx.data"])
    onnx.checker.check_model(str(tmp_path / "out" / "net.onnx"), full_check=True)
    np.testing.assert_allclose(answer(tmp_path / "out" / "net.onnx"), INNER @ (A @ B + BIAS), rtol=1e-4)


def test_a_graph_whose_weights_are_all_in_it_has_none_beside(tmp_path: Path, saved: Path) -> None:
    onnx.save(onnx.load(saved), tmp_path / "whole.onnx")
    graph = OnnxGraph.read(tmp_path / "whole.onnx")
    assert (dict(graph.weights), graph.stood_beside) == ({}, False)
    assert OnnxGraph.read(saved).stood_beside


def gone(path: Path) -> None:
    path.with_name("w.bin").unlink()


def cut_off(path: Path) -> None:
    data = path.with_name("w.bin")
    data.write_bytes(data.read_bytes()[:-1])


def other_place(name: str, **entries: object) -> Callable[[Path], None]:
    return lambda path: change(path, name, **entries)


def led_out(path: Path) -> None:
    data = path.with_name("w.bin")
    outside = data.replace(path.parent.parent / f"{path.parent.name}-outside.bin")
    data.symlink_to(outside)


AGAIN = "write the model again, with its weights in the folder of the graph"
SHAPE = (
    "what the graph says of the place of 'a' does not go with its shape\n"
    "  expected: 1600 bytes\n  got: {} bytes at {}\n  help: " + AGAIN
)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (gone, "there is no file 'w.bin' in {0}\n  help: copy the files that lie beside it as well"),
        (cut_off, "w.bin is cut off, and a constant of a node stands beyond its end\n"
         "  expected: at least 4,480 bytes\n  got: 4,479 bytes\n  help: copy w.bin again"),
        (other_place("a", location="../w.bin"),
         "the graph names '../w.bin', which is outside its folder\n  help: " + AGAIN),
        (other_place("a", location="/etc/hostname"),
         "the graph names '/etc/hostname', which is outside its folder\n  help: " + AGAIN),
        (led_out, "the graph names 'w.bin', which is outside its folder\n  help: " + AGAIN),
        (other_place("a", location="w\0bin"),
         "there is no file 'w\\x00bin' in {0}\n  help: copy the files that lie beside it as well"),
        (other_place("a", location="."),
         "there is no file '.' in {0}\n  help: copy the files that lie beside it as well"),
        (other_place("a", length=1596), SHAPE.format("1596", "0")),
        (other_place("a", offset=-4), SHAPE.format("1600", "-4")),
        (other_place("a", offset="x"), SHAPE.format("1600", "x")),
        (other_place("a", offset=4), "'a' and 'b' overlap in w.bin\n  help: " + AGAIN),
    ],
    ids=["gone", "cut off", "above", "absolute", "link out", "no name", "a folder", "length", "before",
         "text", "overlap"],
)  # fmt: skip
def test_what_is_not_there_is_told(saved: Path, damage: Callable[[Path], None], told: str) -> None:
    damage(saved)
    message = refusal(SourceError, OnnxGraph.read, saved)
    start = f"the weights beside {saved} cannot be read: "
    assert message == start + told.format(saved.parent)


def test_one_weight_with_two_names_is_no_overlap(saved: Path) -> None:
    places = {tensor.name: tensor for tensor in onnx.load(saved, load_external_data=False).graph.initializer}
    change(saved, "b", offset=places["a"].external_data[1].value)
    graph = OnnxGraph.read(saved)
    assert bytes(graph.weights["a"].tobytes()) == bytes(graph.weights["b"].tobytes()) == A.tobytes()


def test_links_into_a_folder_of_blobs_are_followed(saved: Path, tmp_path: Path) -> None:
    """As the cache of the Hugging Face Hub has them."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshots" / "1").mkdir(parents=True)
    for name, blob in (("net.onnx", "0aa"), ("w.bin", "1bb")):
        (tmp_path / name).replace(tmp_path / "blobs" / blob)
        (tmp_path / "snapshots" / "1" / name).symlink_to(f"../../blobs/{blob}")
    graph = OnnxGraph.read(tmp_path / "snapshots" / "1" / "net.onnx")
    assert bytes(graph.weights["b"].tobytes()) == B.tobytes()


def test_packed_types_and_empty_ones_have_their_size(tmp_path: Path) -> None:
    assert external._size(TensorProto.INT4, (3, 5)) == 8
    assert external._size(TensorProto.BFLOAT16, (3, 5)) == 30
    assert external._size(TensorProto.FLOAT, (0, 5)) == 0
    assert external._size(TensorProto.STRING, (3,)) is None
    assert external._size(1000, (3,)) is None
    assert external.StoredWeight(1, (0,), 0, tmp_path / "nothing", 0).tobytes() == b""


def test_weights_that_old_files_list_among_their_inputs(saved: Path, tmp_path: Path) -> None:
    model = onnx.load(saved, load_external_data=False)
    model.graph.input.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [20, 20]))
    model.ir_version = 3
    saved.write_bytes(model.SerializeToString())
    graph = OnnxGraph.read(saved)
    assert [value.name for value in graph.model.graph.input] == ["x"]
    graph.write(tmp_path / "out.onnx")
    np.testing.assert_allclose(answer(tmp_path / "out.onnx"), INNER @ (A @ B + BIAS), rtol=1e-4)


def quantised(zero: np.ndarray, *, weights_only: bool = False) -> OnnxGraph:
    """A graph that quantises its input, or its weights alone."""
    stored = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(zero, "z")]
    stored.append(numpy_helper.from_array(A, "a"))
    first = "a" if weights_only else "x"
    nodes = [
        helper.make_node("QuantizeLinear", [first, "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["x", "d"] if weights_only else ["d", "a"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    return OnnxGraph(helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], stored)))


@pytest.mark.parametrize(
    ("zero", "activations"),
    [
        (np.uint8(0), "uint8"),
        (np.uint8(128), "uint8"),
        (np.int8(0), "int8"),
        (np.int8(3), "int8-asymmetric"),
    ],
)
def test_what_flows_between_the_nodes_of_a_quantised_file(zero: np.ndarray, activations: str) -> None:
    assert quantised(np.asarray(zero)).activations == activations
    assert quantised(np.asarray(zero), weights_only=True).activations is None
