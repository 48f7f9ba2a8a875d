"""Small ONNX files that end as people's files do, and what ONNX Runtime makes of a photograph with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIZE = 8
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def write_network(path: Path, end: str, classes: int = 4, *, seed: int = 0) -> Path:
    """An ONNX file of a pooled image, one matrix, and the end: such as `softmax` or `heads`."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(scale=2, size=(classes, 3)).astype(np.float32)
    bias = rng.normal(size=classes).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
    ]
    outputs: list[tuple[str, list[str | int | None]]] = [("answer", ["batch", classes])]
    gemm = helper.make_node("Gemm", ["flat", "weights", "bias"], ["numbers"], transB=1)
    ends = {
        "logits": [gemm, helper.make_node("Identity", ["numbers"], ["answer"])],
        "softmax": [gemm, helper.make_node("Softmax", ["numbers"], ["answer"], axis=1)],
        "log_softmax": [gemm, helper.make_node("LogSoftmax", ["numbers"], ["answer"], axis=1)],
        "sigmoid": [gemm, helper.make_node("Sigmoid", ["numbers"], ["answer"])],
        "normalised": [gemm, helper.make_node("LpNormalization", ["numbers"], ["answer"], axis=1, p=2)],
        "features": [helper.make_node("Relu", ["flat"], ["answer"])],
        "image": [
            gemm,
            helper.make_node("Unsqueeze", ["numbers", "last"], ["answer"]),
        ],
        "best": [
            gemm,
            helper.make_node("Softmax", ["numbers"], ["net/scores:0"], axis=1),
            helper.make_node("ArgMax", ["net/scores:0"], ["answer"], axis=1, keepdims=0),
        ],
        "heads": [
            gemm,
            helper.make_node("Identity", ["numbers"], ["animal"]),
            helper.make_node("Neg", ["numbers"], ["colour"]),
        ],
    }
    constants = [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")]
    if end == "image":
        constants.append(numpy_helper.from_array(np.array([2, 3]), "last"))
        outputs = [("answer", ["batch", classes, 1, 1])]
    if end == "features":
        outputs = [("answer", ["batch", 3])]
    kind = TensorProto.FLOAT
    if end == "best":
        outputs, kind = [("answer", ["batch"])], TensorProto.INT64
    if end == "heads":
        outputs = [("animal", ["batch", classes]), ("colour", ["batch", classes])]
    graph = helper.make_graph(
        [*nodes, *ends[end]],
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(name, kind, dims) for name, dims in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def answer_by_hand(path: Path, image: Path, output: int = 0) -> np.ndarray:
    """The file's output for a photograph that is squeezed to 8 x 8 pixels; nothing of pinnace."""
    pixels = Image.open(image).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    batch = ((np.asarray(pixels, np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)[None]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    row: np.ndarray = session.run(None, {"input": batch})[output][0].ravel()
    return row
