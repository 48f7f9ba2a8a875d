"""A bundle of a global average and one matrix, written without any of our exporters.

What it answers can be computed by hand.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pinnace.models.bundle import golden
from pinnace.models.bundle.manifest import Golden, Manifest, Variant
from pinnace.models.bundle.measurements import Parity, Tolerance
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.image.preprocess import Preprocess

LABELS = ("reddish", "greenish", "bluish", "bright", "dark")
WEIGHTS = np.array([[3, -1, -1], [-1, 3, -1], [-1, -1, 3], [1, 1, 1], [-1, -1, -1]], dtype=np.float32)
BIAS = np.array([0.0, 0.1, 0.2, -0.5, -0.4], dtype=np.float32)
SIZE = 8


def logits_of(colour: tuple[int, int, int]) -> np.ndarray:
    """What the model says of an image of one colour, computed without any of our code."""
    return WEIGHTS @ ((np.array(colour, dtype=np.float32) / 255 - 0.5) / 0.5) + BIAS


def build_bundle(
    folder: Path,
    *,
    weights: np.ndarray = WEIGHTS,
    name: str = "tiny",
    variant: str = "onnx-fp32",
    created: str = "2026-01-01T00:00:00Z",
    seen: tuple[slice, slice] = (slice(None), slice(None)),
    crop: tuple[int, int] | None = None,
    outputs: Outputs | None = None,
    others: tuple[str, ...] = (),
) -> Path:
    """A bundle of a global average and one matrix.

    Args:
        folder: to be made.
        weights: of the matrix; others than ours break its golden data.
        name: of the model.
        variant: the name of its only variant.
        created: when.
        seen: rows and columns of the input that the answer depends on.
        outputs: what the answer means; by default logits.
        others: names of more variants, each the same network.
        crop: of the preprocessing, after the shortest edge is scaled to `SIZE`; by default all is squeezed.
    """
    folder.mkdir(parents=True)
    mask = np.zeros((1, 1, SIZE, SIZE), np.float32)
    rows, columns = seen
    mask[0, 0, rows, columns] = 1
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["input", "mask"], ["masked"]),
            helper.make_node("GlobalAveragePool", ["masked"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"], transB=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(BIAS, "bias"),
            numpy_helper.from_array(mask, "mask"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    inputs = np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)
    pooled = (inputs * mask).mean(axis=(2, 3))
    golden.write(folder / golden.FILE, {"input": inputs}, {"logits": pooled @ WEIGHTS.T + BIAS})
    first = Variant(
        variant,
        "onnx",
        "fp32",
        "model.onnx",
        _sha256(folder / "model.onnx"),
        (folder / "model.onnx").stat().st_size,
        Parity(0.0, 0.0, 1.0, 1.0, 2, "onnxruntime"),
        Tolerance(max_rel=1e-4),
    )
    manifest = Manifest(
        schema_version=1 if outputs is None else 2,
        name=name,
        source="file:tiny.onnx",
        preprocess=Preprocess(
            resize=(SIZE, SIZE) if crop is None else SIZE,
            interpolation="bilinear",
            crop=crop,
            color="RGB",
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
        ),
        labels=None if outputs is not None and not outputs.is_classifier else "labels.txt",
        signature=Signature(
            (TensorSpec("input", "float32", ("batch", 3, SIZE, SIZE)),),
            (TensorSpec("logits", "float32", ("batch", len(LABELS))),),
        ),
        variants=(first, *(dataclasses.replace(first, name=each) for each in others)),
        golden=Golden(golden.FILE, 2),
        files={file: _sha256(folder / file) for file in ("labels.txt", golden.FILE)},
        tools={},
        created=created,
        runtimes=("onnxruntime",),
        outputs=outputs,
    )
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return folder


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def encode(colour: tuple[int, int, int], size: tuple[int, int] = (20, 14), format: str = "PNG") -> bytes:
    """An image of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format)
    return buffer.getvalue()
