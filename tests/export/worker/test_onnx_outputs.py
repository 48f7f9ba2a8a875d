"""Outputs of ONNX files that are no tensors of numbers, or that lack the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pinnace.export.worker.onnx_source import OnnxSource
from pinnace.models.errors import SourceError
from support.errors import refusal

NAMES = ("cat", "dog", "owl")


def _save(path: Path, nodes: list[onnx.NodeProto], outputs: list[onnx.ValueInfoProto], batch: object) -> None:
    pooled = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Softmax", ["flat"], ["scores"], axis=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 8, 8])
    names = helper.make_tensor("names", TensorProto.STRING, [3], [name.encode() for name in NAMES])
    first = numpy_helper.from_array(np.array([0], np.int64), "first")
    graph = helper.make_graph([*pooled, *nodes], "net", [image], outputs, [names, first])
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def _zip_map() -> tuple[onnx.NodeProto, onnx.ValueInfoProto]:
    kind = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    node = helper.make_node("ZipMap", ["scores"], ["loss"], domain="ai.onnx.ml", classlabels_strings=NAMES)
    return node, helper.make_value_info("loss", helper.make_sequence_type_proto(kind))


BEST = [
    helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
    helper.make_node("Gather", ["names", "best"], ["classLabel"]),
]
LABEL = helper.make_tensor_value_info("classLabel", TensorProto.STRING, ["N"])


def _open(path: Path, folder: Path) -> OnnxSource:
    folder.mkdir(exist_ok=True)
    return OnnxSource(path, folder)


@pytest.mark.parametrize("label_beside", [True, False])
def test_names_with_scores_become_scores_and_labels(tmp_path: Path, label_beside: bool) -> None:
    node, loss = _zip_map()
    beside = ([*BEST, node], [LABEL, loss]) if label_beside else ([node], [loss])
    _save(tmp_path / "net.onnx", *beside, "N")
    source = _open(tmp_path / "net.onnx", tmp_path / "out")
    images = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)
    means = np.exp(images.mean((2, 3)))
    answers = source.run({"image": images})
    assert list(answers) == ["scores"]
    np.testing.assert_allclose(answers["scores"], means / means.sum(1, keepdims=True), rtol=1e-5)
    assert source.facts().labels == NAMES
    assert source.notes[0].startswith("the output loss gives names with scores (ZipMap)")
    assert [note.rpartition(": ")[2] for note in source.notes[1:]] == ["classLabel"] * label_beside
    written = onnx.load(tmp_path / "out" / "onnx-fp32.onnx")
    assert {node.op_type for node in written.graph.node} == {"GlobalAveragePool", "Flatten", "Softmax"}
    assert not written.graph.initializer


def test_texts_alone_are_refused(tmp_path: Path) -> None:
    _save(tmp_path / "net.onnx", BEST, [LABEL], "N")
    message = refusal(SourceError, _open, tmp_path / "net.onnx", tmp_path / "out")
    assert message.startswith("the ONNX file's output classLabel cannot be stored in a bundle")


def test_an_answer_to_one_image_without_a_batch_is_given_one(tmp_path: Path) -> None:
    row = helper.make_node("Squeeze", ["scores", "first"], ["row"])
    _save(tmp_path / "net.onnx", [row], [helper.make_tensor_value_info("row", TensorProto.FLOAT, [3])], 1)
    source = _open(tmp_path / "net.onnx", tmp_path / "out")
    (answer,) = source.run({"image": np.zeros((1, 3, 8, 8), np.float32)}).items()
    assert (answer[0], answer[1].shape) == ("row_row", (1, 3))
    assert source.notes == ("outputs without the batch of 1 were given it: row",)


def test_whole_numbers_at_the_end_are_what_they_stand_for(tmp_path: Path) -> None:
    """As networks of int8 from TensorFlow Lite end."""
    step, zero = np.array(1 / 256, np.float32), np.array(-128, np.int8)
    end = [
        helper.make_node("Constant", [], ["step"], value=numpy_helper.from_array(step)),
        helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(zero)),
        helper.make_node("QuantizeLinear", ["scores", "step", "zero"], ["q"]),
    ]
    _save(tmp_path / "net.onnx", end, [helper.make_tensor_value_info("q", TensorProto.INT8, ["N", 3])], "N")
    source = _open(tmp_path / "net.onnx", tmp_path / "out")
    images = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)
    means = np.exp(images.mean((2, 3)))
    (answer,) = source.run({"image": images}).items()
    assert (answer[0], answer[1].dtype) == ("q_values", np.float32)
    np.testing.assert_allclose(answer[1], np.rint(256 * means / means.sum(1, keepdims=True)) / 256, rtol=1e-6)
    assert source.notes == ("outputs of whole numbers are what they stand for: q",)
