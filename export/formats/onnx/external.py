"""Weights in files beside an ONNX graph (ONNX's external data): checked, and read where they stand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pinnace.models.errors import SourceError

if TYPE_CHECKING:
    import onnx

# Smaller weights stay in the graph: shapes are among them, which a runtime has to know before it reads the
# others.
SMALL = 1024

# Protobuf cannot hold more in one message.
LARGEST = 2**31 - 2**20

_COPY = "copy the files that lie beside it as well"
_WRITE_AGAIN = "write the model again, with its weights in the folder of the graph"
# How many bits types have that are packed, several of them in a byte.
_PACKED = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}


class Weight(Protocol):
    """A tensor whose bytes are had when they are asked for, as those of `onnx_ir` are."""

    @property
    def dtype(self) -> Any:
        """Its number in `onnx.TensorProto.DataType`."""

    @property
    def shape(self) -> Any:
        """Its dimensions."""

    @property
    def nbytes(self) -> int:
        """How many bytes it has."""

    def tobytes(self) -> Any:
        """Its bytes as ONNX stores them, little-endian and packed."""


@dataclass(frozen=True)
class StoredWeight:
    """A weight in a file; its bytes are mapped and not read.

    Attributes:
        dtype: its number in `onnx.TensorProto.DataType`.
        shape: its dimensions.
        nbytes: how many bytes it has.
        path: the file.
        offset: its first byte there.
    """

    dtype: int
    shape: tuple[int, ...]
    nbytes: int
    path: Path
    offset: int

    def tobytes(self) -> Any:
        """Its bytes."""
        if not self.nbytes:
            return b""
        return np.memmap(self.path, np.uint8, "r", self.offset, (self.nbytes,)).data


def take_out(model: onnx.ModelProto, path: Path) -> dict[str, StoredWeight] | None:
    """Take the weights that stand beside a graph out of it, and read into it what else stands there.

    What is small, or belongs to a node or to a graph within the graph, is read.

    Args:
        model: the graph, loaded without its external data; it is changed.
        path: its file.

    Returns:
        By name, what was taken out of the initializers; None where nothing stands beside the graph.

    Raises:
        SourceError: a file is not there, leaves the folder or is too short, or weights overlap.
    """
    own = [(tensor, _place(tensor, path)) for tensor in model.graph.initializer if tensor.data_location]
    inner = [(tensor, _place(tensor, path)) for tensor in _inner_tensors(model) if tensor.data_location]
    _refuse_overlaps([(tensor.name, stored) for tensor, stored in (*own, *inner)], path)
    if not own and not inner:
        return None
    taken = {tensor.name: stored for tensor, stored in own if stored.nbytes >= SMALL}
    read = [*((tensor, stored) for tensor, stored in own if tensor.name not in taken), *inner]
    if sum(stored.nbytes for _, stored in read) > LARGEST:
        raise _damaged(path, "more than 2 GiB of them belong to nodes", hint="make initializers of them")
    for tensor, stored in read:
        tensor.raw_data = bytes(stored.tobytes())
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")
    remove_weights(model, taken)
    return taken


def remove_weights(model: onnx.ModelProto, names: Mapping[str, Any]) -> None:
    """Take these off a graph's weights and, where old files list them there too, off its inputs."""
    listed = any(value.name in names for value in model.graph.input)
    model.ir_version = max(model.ir_version, 4) if listed else model.ir_version
    for field in (model.graph.initializer, model.graph.input):
        kept = [type(one).FromString(one.SerializeToString()) for one in field if one.name not in names]
        if len(kept) < len(field):
            del field[:]
            field.extend(kept)


def with_inputs(model: onnx.ModelProto, weights: Mapping[str, Weight]) -> onnx.ModelProto:
    """A copy with inputs in the place of its weights, for what has to know only their types."""
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for name, weight in weights.items():
        changed.graph.input.append(
            onnx.helper.make_tensor_value_info(name, int(weight.dtype), tuple(weight.shape))
        )
    return changed


def _inner_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model but the initializers of its graph."""
    yield from _inner_tensors_of(model.graph)
    for function in model.functions:
        yield from _tensors_of_nodes(function.node)


def _inner_tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Any) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
            for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from graph.initializer
                yield from _inner_tensors_of(graph)


def _place(tensor: onnx.TensorProto, path: Path) -> StoredWeight:
    """Where the bytes of a tensor stand."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    what = repr(tensor.name) if tensor.name else "a constant of a node"
    file = _file(said.get("location", ""), path)
    shape = tuple(tensor.dims)
    needed = _size(tensor.data_type, shape)
    try:
        offset, length = int(said.get("offset") or 0), int(said.get("length") or needed or 0)
    except ValueError:
        offset = length = -1
    if needed is None or min(offset, length, *shape, 0) < 0 or length != needed:
        raise _damaged(
            path,
            f"what the graph says of the place of {what} does not go with its shape",
            expected="its type cannot be stored so" if needed is None else f"{needed} bytes",
            got=f"{said.get('length', 'no length')} bytes at {said.get('offset', '0')}",
            hint=_WRITE_AGAIN,
        )
    size = file.stat().st_size
    if offset + length > size:
        raise _damaged(
            path,
            f"{said['location']} is cut off, and {what} stands beyond its end",
            expected=f"at least {offset + length:,} bytes",
            got=f"{size:,} bytes",
            hint=f"copy {said['location']} again",
        )
    return StoredWeight(tensor.data_type, shape, needed, file, offset)


def _file(location: str, path: Path) -> Path:
    """The file at a location, which may be a symbolic link but must not lead out of the graph's folder.

    Where the graph is a symbolic link itself, as in the cache of the Hugging Face Hub, the folder that it
    leads to is as good.
    """
    named = path.parent / location
    try:
        resolved = named.resolve()
        inside = any(
            resolved.is_relative_to(folder) for folder in (path.parent.resolve(), path.resolve().parent)
        )
        there = bool(location) and inside and resolved.is_file()
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or links in a circle
        inside, there = True, False
    if Path(location).is_absolute() or not inside:
        raise _damaged(path, f"the graph names {location!r}, which is outside its folder", hint=_WRITE_AGAIN)
    if not there:
        raise _damaged(path, f"there is no file {location!r} in {path.parent}", hint=_COPY)
    return resolved


def _size(dtype: int, shape: tuple[int, ...]) -> int | None:
    """How many bytes a tensor has in a file; None where its type cannot stand in one."""
    import onnx

    if dtype in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
        return None
    try:
        name = onnx.TensorProto.DataType.Name(dtype)
        bits = _PACKED.get(name) or 8 * onnx.helper.tensor_dtype_to_np_dtype(dtype).itemsize
    except (KeyError, ValueError):
        return None
    elements = 1
    for dim in shape:
        elements *= dim
    return -(-elements * bits // 8)


def _refuse_overlaps(places: list[tuple[str, StoredWeight]], path: Path) -> None:
    """Refuse weights that share some bytes; those that share all of them are one weight with two names."""
    found = [place for place in places if place[1].nbytes]
    found.sort(key=lambda place: (str(place[1].path), place[1].offset, -place[1].nbytes))
    for (name, one), (other_name, other) in itertools.pairwise(found):
        same = (one.offset, one.nbytes) == (other.offset, other.nbytes)
        if one.path == other.path and other.offset < one.offset + one.nbytes and not same:
            raise _damaged(path, f"{name!r} and {other_name!r} overlap in {one.path.name}", hint=_WRITE_AGAIN)


def _damaged(
    path: Path, why: str, *, hint: str, expected: str | None = None, got: str | None = None
) -> SourceError:
    return SourceError(
        f"the weights beside {path} cannot be read: {why}", expected=expected, got=got, hint=hint
    )
