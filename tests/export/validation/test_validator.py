"""What the validator measures a variant against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pinnace.export.request import REFERENCE, ExportedFiles
from pinnace.export.validation.validator import Validator, reference_photographs
from pinnace.models.bundle import golden
from pinnace.models.bundle.manifest import Tolerance
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.bundle.signature import Signature, TensorSpec
from pinnace.models.progress import ignore

FILE = "onnx-fp32.onnx"
SPECS = TensorSpec("x", "float32", ("batch", 1, 4, 4)), TensorSpec("y", "float32", ("batch", 1))
MEANS = np.array([1.6e-5, 0, 1.5e-7, 1.3e-2], np.float32)


def test_photographs_are_measured_on_the_scale_of_all_golden_answers(tmp_path: Path) -> None:
    """Three photographs with nearly one probability, and the last bits of it are the runtime's own."""
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SPECS[0].shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, SPECS[1].shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / FILE)
    images = np.broadcast_to(MEANS[:, None, None, None], (4, 1, 4, 4)).copy()
    eager = MEANS[:, None] - np.float32(6e-8)
    (tmp_path / golden.FILE).parent.mkdir(exist_ok=True)
    golden.write(tmp_path / golden.FILE, {"x": images}, {"y": eager})
    exported = ExportedFiles(
        signature=Signature(SPECS[:1], SPECS[1:]),
        preprocess=None,
        labels=None,
        files={REFERENCE: FILE},
        photographs={f"golden/{index}.jpg": index for index in range(3)},
        samples=4,
        tools={},
    )
    validator = Validator(
        tmp_path,
        exported,
        Outputs("probabilities", "y", "none", 2),
        {"fp32": Tolerance(max_rel=1e-3)},
        reference_photographs(tmp_path, exported, None, ignore),
        ignore,
    )
    variant = validator.validate(REFERENCE, FILE)
    assert variant.proof is not None
    assert variant.proof.images == 3
    assert variant.proof.max_rel == pytest.approx(6e-8 / 1.3e-2, rel=0.02)
