"""Small work on ONNX graphs that several conversions need."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pinnace.models.cpus import available_cpus, saturates
from pinnace.models.errors import MissingDependency
from pinnace.models.install import install_line

if TYPE_CHECKING:
    import onnx

_ERRORS_ONLY = 3
# Intermediate tensors of a whole network are large: so many of them, of so many samples, are held at once.
_TENSORS_AT_ONCE = 64
SAMPLES_AT_ONCE = 4


def require_onnxruntime(what: str) -> None:
    """Raise where ONNX Runtime, which measures and converts, is not installed.

    Raises:
        MissingDependency: it is not.
    """
    import importlib.util

    if importlib.util.find_spec("onnxruntime") is None:
        raise MissingDependency(f"{what} needs onnxruntime, which is not installed", hint=install_line("cpu"))


@contextmanager
def onnxruntime_tools() -> Iterator[None]:
    """Let the modules of `onnxruntime.transformers` find one another, which they do by `sys.path`.

    The folder does not stay there: it has packages called `models` and `benchmark` in it.
    """
    import onnxruntime.transformers as package

    folder = str(Path(package.__file__).parent)
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path[:] = [entry for entry in sys.path if entry != folder]


def session(model: onnx.ModelProto | Path, *, optimise: bool = True) -> Any:
    """An ONNX Runtime session on the CPU."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = available_cpus()
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if saturates():
        settings.add_session_config_entry("session.x64quantprecision", "1")  # as `OnnxRuntime` does
    settings.log_severity_level = _ERRORS_ONLY
    if not optimise:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])


def float_tensors(model: onnx.ModelProto) -> list[str]:
    """The names of the float32 and float16 tensors that the nodes of the main graph produce, in order."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    typed = {
        value.name
        for value in [*inferred.graph.value_info, *inferred.graph.output]
        if value.type.tensor_type.elem_type in floats
    }
    return [name for node in model.graph.node for name in node.output if name in typed]


def run_tapped(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    feeds: Mapping[str, npt.NDArray[np.generic]],
    *,
    one_by_one: bool = False,
) -> Iterator[dict[str, npt.NDArray[np.generic]]]:
    """Run a model and give intermediate tensors, a few at a time.

    Args:
        model: any model; it is not changed.
        tensors: names of tensors that its nodes produce.
        feeds: inputs by name; first dimension the sample.
        one_by_one: the model takes one sample at a time.

    Yields:
        Some of the tensors for some of the samples.
    """
    import onnx

    count = len(next(iter(feeds.values())))
    for first in range(0, len(tensors), _TENSORS_AT_ONCE):
        names = list(tensors[first : first + _TENSORS_AT_ONCE])
        tapped = onnx.ModelProto()
        tapped.CopyFrom(model)
        del tapped.graph.output[:]
        tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        opened = session(typed(tapped), optimise=False)
        size = 1 if one_by_one else SAMPLES_AT_ONCE
        for start in range(0, count, size):
            chunk = {name: array[start : start + size] for name, array in feeds.items()}
            yield dict(zip(names, opened.run(names, chunk), strict=True))


def typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give the new outputs the types that shape inference finds."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    types = {value.name: value for value in inferred.graph.value_info}
    for output in model.graph.output:
        if output.name in types:
            output.CopyFrom(types[output.name])
    return model


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node of the main graph a name of its own; conversions tell nodes apart by their names."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
        taken.add(node.name)


def sort_nodes(model: onnx.ModelProto) -> None:
    """Put the nodes of the main graph into an order in which each comes after what it reads."""
    graph = model.graph
    made = {name for node in graph.node for name in node.output}
    ready = {tensor.name for tensor in [*graph.initializer, *graph.input]} | {""}
    waiting, ordered = list(graph.node), []
    while waiting:
        rest = []
        for node in waiting:
            if all(name in ready or name not in made for name in reads(node)):
                ordered.append(node)
                ready.update(node.output)
            else:
                rest.append(node)
        if len(rest) == len(waiting):
            raise ValueError("the graph has a cycle")
        waiting = rest
    copies = [type(node).FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(copies)


def reads(node: onnx.NodeProto) -> list[str]:
    """What a node reads, with what the graphs inside of it read."""
    names = list(node.input)
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            names.extend(name for inner in graph.node for name in reads(inner))
    return names


def save(model: onnx.ModelProto, path: Path) -> None:
    """Sort and check a model, and write it; the same model gives the same bytes."""
    import onnx

    sort_nodes(model)
    model.ClearField("metadata_props")
    model.graph.ClearField("doc_string")
    for node in model.graph.node:
        node.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
