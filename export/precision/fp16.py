"""float16 from the fp32 ONNX file: inputs and outputs stay float32, and so does what overflows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pinnace.export.precision import graphs
from pinnace.export.precision.base import Conversion, ConversionInput, Converted
from pinnace.models.progress import Event, Stage

if TYPE_CHECKING:
    import onnx

LARGEST = 65504.0

# A tensor that comes within this factor of the largest float16 is kept in float32: other images reach further
# than the ones that were measured.
HEADROOM = 4.0


def convert(material: ConversionInput, path: Path) -> Converted:
    """Measure which tensors float16 cannot hold, convert the rest, and write the file.

    The conversion is ONNX Runtime's own (`onnxruntime.transformers.float16`, MIT). What it leaves to be done:
    its Cast nodes stand at the end of the graph, and two nodes kept in float32 that read the same tensor get
    two casts of the same name.

    Returns:
        A note that names the nodes that stay in float32, if any do.
    """
    graphs.require_onnxruntime("float16")
    import onnx

    model = onnx.load(str(material.path))
    graphs.name_nodes(model)
    material.progress(Event(Stage.MEASURE_FLOAT16))
    kept = overflowing(model, material)
    converted = _convert(model, kept)
    _merge_casts(converted)
    converted.graph.ClearField("value_info")
    graphs.save(converted, path)
    if not kept:
        return Converted()
    note = (f"in {path.stem} {len(kept)} nodes stay in fp32, because float16 cannot hold what flows there: "
            + ", ".join(kept))  # fmt: skip
    return Converted((note,))


def overflowing(model: onnx.ModelProto, material: ConversionInput) -> list[str]:
    """The names of the nodes that read or write a number that float16 cannot hold with headroom to spare.

    Measured on the golden inputs, extremes among them, and on the calibration images.
    """
    from onnx import numpy_helper

    peaks: dict[str, float] = {}
    tensors = graphs.float_tensors(model)
    images = () if material.images is None else ({material.input: material.images},)
    for feeds in (material.golden, *images):
        for values in graphs.run_tapped(model, tensors, feeds, one_by_one=material.fixed_batch):
            for name, value in values.items():
                peaks[name] = max(peaks.get(name, 0.0), _peak(value))
        for name, value in feeds.items():
            peaks[name] = max(peaks.get(name, 0.0), _peak(value))
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32:
            peaks[tensor.name] = _peak(value) / HEADROOM  # weights do not grow
    limit = LARGEST / HEADROOM
    return [
        node.name
        for node in model.graph.node
        if any(peaks.get(name, 0.0) > limit for name in [*node.input, *node.output])
    ]


def _peak(value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> float:
    largest = float(np.abs(np.asarray(value, np.float64)).max(initial=0.0))
    return np.inf if np.isnan(largest) else largest


def _convert(model: onnx.ModelProto, kept: list[str]) -> onnx.ModelProto:
    with graphs.onnxruntime_tools():
        from onnxruntime.transformers import float16
    converted: onnx.ModelProto = float16.convert_float_to_float16(
        model, keep_io_types=True, node_block_list=kept
    )
    return converted


def _merge_casts(model: onnx.ModelProto) -> None:
    """Keep one of several casts of the same name, and skip a cast to float16 and straight back."""
    import onnx

    graph = model.graph
    seen: set[str] = set()
    nodes = []
    for node in graph.node:
        if node.op_type == "Cast" and node.output[0] in seen:
            continue
        seen.update(node.output)
        nodes.append(node)
    makers = {name: node for node in nodes for name in node.output}
    outputs = {value.name for value in graph.output}
    renamed: dict[str, str] = {}
    for node in nodes:
        inner = makers.get(node.input[0]) if node.op_type == "Cast" else None
        back = inner is not None and inner.op_type == "Cast" and inner.name.endswith("_cast_to_fp16_node")
        if back and node.attribute[0].i == onnx.TensorProto.FLOAT and node.output[0] not in outputs:
            assert inner is not None
            renamed[node.output[0]] = inner.input[0]
    for node in nodes:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
    read = {name for node in nodes for name in node.input} | outputs
    while dead := [n for n in nodes if n.op_type == "Cast" and not read.intersection(n.output)]:
        nodes = [node for node in nodes if node not in dead]
        read = {name for node in nodes for name in node.input} | outputs
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def snippet(fp32: str, file: str) -> str:
    """Lines that convert with ONNX Runtime alone."""
    return f"""\
import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

onnx.save(convert_float_to_float16(onnx.load(DATA / {fp32!r}), keep_io_types=True), {file!r})
"""


CONVERSION = Conversion("fp16", False, ("onnx", "onnxruntime"), convert, snippet)
