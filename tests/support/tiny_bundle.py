"""A bundle of a global average and one matrix, written without any of our exporters.

What it answers can be computed by hand.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pinnace.models.bundle import golden
from pinnace.models.bundle.manifest import Golden, Manifest, Parity, Tolerance, Variant
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
) -> Path:
    """A bundle of a global average and one matrix; `weights` other than ours break its golden data."""
    folder.mkdir(parents=True)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"], transB=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(BIAS, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    inputs = np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)
    golden.write(
        folder / golden.FILE, {"input": inputs}, {"logits": inputs.mean(axis=(2, 3)) @ WEIGHTS.T + BIAS}
    )
    only = Variant(
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
        schema_version=1,
        name=name,
        source="file:tiny.onnx",
        preprocess=Preprocess(
            resize=(SIZE, SIZE),
            interpolation="bilinear",
            crop=None,
            color="RGB",
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
        ),
        labels="labels.txt",
        signature=Signature(
            (TensorSpec("input", "float32", ("batch", 3, SIZE, SIZE)),),
            (TensorSpec("logits", "float32", ("batch", len(LABELS))),),
        ),
        variants=(only,),
        golden=Golden(golden.FILE, 2),
        files={name: _sha256(folder / name) for name in ("labels.txt", golden.FILE)},
        tools={},
        created=created,
        runtimes=("onnxruntime",),
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
