"""A small network as ONNX, behind nodes as other tools write them, and what it answers by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import sklearn
import torch
from onnx import helper, numpy_helper
from PIL import Image

from pinnace.export.preprocessing import Changes
from pinnace.export.validation.verify import passed, verify_bundle
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.image.decode import open_image

PHOTOGRAPHS = sorted((Path(sklearn.__file__).parent / "datasets" / "images").glob("*.jpg"))
EDGE = 32
IMAGENET = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)
SQUEEZED = Changes(resize=(EDGE, EDGE))
CHW = (2, 0, 1)


def write(network: torch.nn.Module, path: Path, opset: int, **options: Any) -> None:
    torch.onnx.export(
        network,
        (torch.rand(2, 3, EDGE, EDGE),),
        str(path),
        dynamo=False,
        opset_version=opset,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
        **options,
    )


def with_start(
    plain: Path,
    path: Path,
    nodes: list[tuple[Any, ...]],
    constants: dict[str, Any],
    kind: int,
    dims: list[Any],
) -> None:
    """The network behind other nodes, which make its input `x` of `data`."""
    model = onnx.load(plain)
    own = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(helper.make_node(op, ins, outs, **more) for op, ins, outs, more in nodes)
    model.graph.node.extend(own)
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("data", kind, dims))
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items())
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, path)


def with_nodes(
    path: Path, nodes: list[tuple[Any, ...]], constants: dict[str, Any], kind: int, dims: list[Any]
) -> None:
    """A file of these nodes alone, from `data` to `y`."""
    graph = helper.make_graph(
        [helper.make_node(op, ins, outs, **more) for op, ins, outs, more in nodes],
        "net",
        [helper.make_tensor_value_info("data", kind, dims)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)


def pixels(photograph: Path) -> np.ndarray:
    """As Keras' users do: squeezed into the size, float32 of 0..255, (height, width, 3)."""
    return np.asarray(
        Image.open(photograph).convert("RGB").resize((EDGE, EDGE), Image.Resampling.BILINEAR), np.float32
    )


def assert_answers_like(bundle: Bundle, file: Path, made: Callable[[np.ndarray], np.ndarray]) -> None:
    """What the bundle answers to photographs is what ONNX Runtime makes of the file by hand."""
    session = onnxruntime.InferenceSession(str(file))
    name = session.get_inputs()[0].name
    with Classifier(bundle) as classifier:
        for photograph in PHOTOGRAPHS:
            fed = made(pixels(photograph))[None]
            fixed = session.get_inputs()[0].shape[0]
            fed = np.repeat(fed, fixed, axis=0) if isinstance(fixed, int) else fed
            wanted = session.run(None, {name: fed})[0][0]
            given = classifier.prepare(open_image(photograph))
            np.testing.assert_array_equal(given[0], fed[0])
            np.testing.assert_allclose(classifier.infer(given)[0], wanted, rtol=1e-4, atol=1e-4)
    assert passed(verify_bundle(bundle))
