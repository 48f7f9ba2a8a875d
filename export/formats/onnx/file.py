"""Writing an ONNX file weight by weight, so that a large network is not in memory three times over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.export.formats.onnx import external
from pinnace.export.formats.onnx.external import Weight
from pinnace.models.bundle.manifest import weights_file
from pinnace.models.errors import CheckFailed

if TYPE_CHECKING:
    import onnx

_PAGE = 4096

# Field numbers of onnx.proto, shifted, with the wire type "length and bytes".
_GRAPH = 7 << 3 | 2
_INITIALIZER = 5 << 3 | 2
_RAW_DATA = 9 << 3 | 2


def save(program: Any, path: Path) -> None:
    """Check and save what `torch.onnx.export` gave, without what names the machine it was made on.

    The result is the same message as `program.model_proto`, with the initializers last; `model_proto` itself
    copies every weight, and serialising and checking it copy them again.

    Args:
        program: a `torch.onnx.ONNXProgram`; its weights are taken out of it.
        path: the file.

    Where one file cannot hold the weights, they go into another beside it, see `weights_file`.
    """
    import onnx_ir

    weights: dict[str, Weight] = {}
    initializers = program.model.graph.initializers
    for name, value in list(initializers.items()):
        if value.const_value is not None and value.const_value.dtype != onnx_ir.DataType.STRING:
            weights[name] = value.const_value
            del initializers[name]
    skeleton = onnx_ir.to_proto(program.model)
    strip(skeleton)
    _check(skeleton, weights)
    write(skeleton, weights, path)


def write(skeleton: onnx.ModelProto, weights: Mapping[str, Weight], path: Path) -> None:
    """Write a graph and its weights: into one file, or into two where one cannot hold them.

    Args:
        skeleton: the model without those weights; it is changed.
        weights: by name.
        path: the file of the graph; the weights' is `weights_file` of it.
    """
    graph = skeleton.graph.SerializeToString(deterministic=True)
    heads = {name: _head(name, tensor) for name, tensor in weights.items()}
    sizes = {name: len(heads[name]) + tensor.nbytes for name, tensor in weights.items()}
    total = len(graph) + sum(1 + len(_varint(size)) + size for size in sizes.values())
    if total > external.LARGEST:
        _write_in_two(skeleton, weights, path)
        return
    skeleton.ClearField("graph")
    with path.open("wb") as file:
        file.write(skeleton.SerializeToString(deterministic=True))
        file.write(bytes([_GRAPH]) + _varint(total) + graph)
        for name, tensor in weights.items():
            file.write(bytes([_INITIALIZER]) + _varint(sizes[name]) + heads[name])
            file.write(tensor.tobytes())


def _write_in_two(skeleton: onnx.ModelProto, weights: Mapping[str, Weight], path: Path) -> None:
    """Write a graph, and beside it its weights, as ONNX's external data.

    Each that is not small begins at a page of its own, so that it can be mapped.
    """
    import onnx

    beside = path.with_name(weights_file(path.name))
    with beside.open("wb") as file:
        for name, tensor in weights.items():
            proto = onnx.TensorProto(name=name, data_type=int(tensor.dtype), dims=tuple(tensor.shape))
            if tensor.nbytes < external.SMALL:
                proto.raw_data = bytes(tensor.tobytes())
            else:
                file.seek(-(-file.tell() // _PAGE) * _PAGE)
                proto.data_location = onnx.TensorProto.EXTERNAL
                place = {"location": beside.name, "offset": file.tell(), "length": tensor.nbytes}
                for key, value in place.items():
                    proto.external_data.add(key=key, value=str(value))
                file.write(tensor.tobytes())
            skeleton.graph.initializer.append(proto)
    path.write_bytes(skeleton.SerializeToString(deterministic=True))


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Save a model without what names the machine it was made on; the same model gives the same bytes."""
    strip(model)
    require_room(model.ByteSize())
    path.write_bytes(model.SerializeToString(deterministic=True))


def require_room(size: int) -> None:
    """Raise where one ONNX file cannot hold so many bytes.

    Raises:
        CheckFailed: it cannot.
    """
    if size > external.LARGEST:
        raise CheckFailed(
            "the network has more than 2 GiB of weights, and only torch.onnx.export(dynamo=True) in opset 18 "
            "or later writes so many",
            expected=f"at most {external.LARGEST / 1e9:.2f} GB",
            got=f"{size / 1e9:.2f} GB",
            hint="leave it out with --format torchscript",
        )


def _head(name: str, tensor: Weight) -> bytes:
    """Everything of a TensorProto but its bytes, and the length of those."""
    import onnx

    proto = onnx.TensorProto(name=name, data_type=int(tensor.dtype), dims=tuple(tensor.shape))
    head: bytes = proto.SerializeToString(deterministic=True)
    return head + bytes([_RAW_DATA]) + _varint(tensor.nbytes)


def _varint(number: int) -> bytes:
    """A number as protobuf writes it: seven bits a byte, the lowest first."""
    parts = []
    while True:
        number, low = number >> 7, number & 0x7F
        parts.append(low | (0x80 if number else 0))
        if not number:
            return bytes(parts)


def _check(skeleton: onnx.ModelProto, weights: Mapping[str, Weight]) -> None:
    """Check the model with inputs in the place of its weights."""
    import onnx

    onnx.checker.check_model(external.with_inputs(skeleton, weights))


def strip(model: onnx.ModelProto) -> None:
    """Remove stack traces and module paths: they name files of this machine and change from run to run."""
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        graph.ClearField("doc_string")
        graph.ClearField("metadata_props")
        for node in graph.node:
            node.ClearField("doc_string")
            node.ClearField("metadata_props")
            graphs.extend(attribute.g for attribute in node.attribute if attribute.HasField("g"))
        for value in [*graph.input, *graph.output, *getattr(graph, "initializer", ()), *graph.value_info]:
            value.ClearField("doc_string")
            value.ClearField("metadata_props")
    model.ClearField("metadata_props")
