"""Tensors of the Open Inference Protocol: JSON, and bytes that follow the JSON.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol and, for the bytes,
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/extension_binary_tensor_data.md
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, StrictInt, StrictStr, ValidationError

from pinnace.models.bundle.signature import TensorSpec
from pinnace.models.errors import ImageTooLarge, UsageError
from pinnace.serving.errors import BatchTooLarge, MalformedBody
from pinnace.serving.inference.inputs import Item

BYTES = "BYTES"
IMAGE = "image"
DATATYPES = {
    **{"float16": "FP16", "float32": "FP32", "float64": "FP64"},
    **{"int64": "INT64", "int32": "INT32", "int8": "INT8", "uint8": "UINT8"},
}
LITTLE_FLOAT = np.dtype("<f4")

_LENGTH = struct.Struct("<I")
_MOST_STRUCTURE = 1000
_MOST_NAMED = 64

# What a number of a list takes as an object, and once more as a copy while an array is made of it.
_BYTES_EACH = 64

Name = Annotated[StrictStr, Field(max_length=1024)]
Parameters = dict[str, Any]


class InputTensor(BaseModel):
    """An input as it is described; its data is here, or follows."""

    name: Name
    shape: Annotated[list[Annotated[StrictInt, Field(ge=0)]], Field(max_length=8)]
    datatype: Name
    parameters: Parameters = {}
    data: Any = None


class OutputTensor(BaseModel):
    """An output that the request names."""

    name: Name
    parameters: Parameters = {}


class InferRequest(BaseModel):
    """The JSON of a request to infer."""

    id: Name | None = None
    parameters: Parameters = {}
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=_MOST_NAMED)]
    outputs: Annotated[list[OutputTensor], Field(max_length=_MOST_NAMED)] | None = None


@dataclass(frozen=True)
class InputLimits:
    """What a model takes.

    Attributes:
        spec: its input.
        images: the most images of one request.
        image_bytes: the longest encoded image.
    """

    spec: TensorSpec
    images: int
    image_bytes: int


def parse_request(
    text: bytes, limits: InputLimits, hold: Callable[[int], None] = lambda count: None
) -> InferRequest:
    """Read the JSON.

    Args:
        text: the JSON.
        limits: what the model takes.
        hold: called with the bytes that the parsed JSON takes, before it is parsed; may raise.

    Raises:
        MalformedBody: it is not JSON, or has more parts than the largest tensor has.
        UsageError: it is not what the protocol says.
    """
    # Megabytes of empty lists would take gigabytes, and while names and texts are made, nothing else is done.
    sizes = [max(1, size) for size in limits.spec.with_batch(1)]
    rows = limits.images * math.prod(sizes[:-1])
    lists, elements = text.count(b"[") + text.count(b"{"), text.count(b",")
    too_many = lists > _MOST_STRUCTURE + 4 * rows
    too_many |= elements > _MOST_STRUCTURE + limits.images * math.prod(sizes)
    too_many |= text.count(b":") > _MOST_STRUCTURE
    too_many |= text.count(b'"') > 2 * (_MOST_STRUCTURE + limits.images)
    if too_many:
        raise MalformedBody("the JSON body has too many parts")
    hold(_BYTES_EACH * (lists + elements))
    try:
        return InferRequest.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise UsageError(f"{where[:200]}: {first['msg'].lower()}") from None
    except (ValueError, RecursionError):
        raise MalformedBody("the body is not JSON") from None


def read_items(request: InferRequest, binary: memoryview, limits: InputLimits) -> list[Item]:
    """The images or tensors of a request, one item for each image.

    Args:
        request: what was asked.
        binary: what follows the JSON.
        limits: what the model takes.

    Raises:
        UsageError: there is another input than the model's, or its shape, type or data is wrong.
        BatchTooLarge: there are too many images.
        ImageTooLarge: an encoded image is too long.
        MalformedBody: the bytes are not what the JSON says.
    """
    spec = limits.spec
    if len(request.inputs) > 1:
        raise UsageError(
            f"there are {len(request.inputs)} inputs", expected=f"one, {spec} or images as {BYTES}"
        )
    tensor = request.inputs[0]
    raw = _own_bytes(tensor, binary)
    if tensor.datatype == BYTES:
        if tensor.name not in (spec.name, IMAGE):
            raise _unknown_input(tensor.name, spec)
        return _images(tensor, raw, limits)
    if tensor.name != spec.name:
        raise _unknown_input(tensor.name, spec)
    if tensor.datatype != DATATYPES[spec.dtype]:
        raise UsageError(
            f"the datatype of {spec.name} is wrong",
            expected=f"{DATATYPES[spec.dtype]}, or {BYTES} for encoded images",
            got=tensor.datatype[:40],
        )
    return _rows(tensor, raw, limits)


def _unknown_input(name: str, spec: TensorSpec) -> UsageError:
    return UsageError(f"the model has no input {name[:80]!r}", expected=f"{spec}, or {BYTES} named {IMAGE}")


def _own_bytes(tensor: InputTensor, binary: memoryview) -> memoryview | None:
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if binary:
            raise MalformedBody(f"{len(binary)} bytes follow the JSON, and no input has a binary_data_size")
        return None
    if size != len(binary) or isinstance(size, bool):
        raise MalformedBody(
            f"the binary_data_size is {str(size)[:40]}, but {len(binary)} bytes follow the JSON"
        )
    if tensor.data is not None:
        raise UsageError(f"the input {tensor.name[:80]!r} has both data and a binary_data_size")
    return binary


def _check_count(images: int, limits: InputLimits) -> None:
    if images > limits.images:
        raise BatchTooLarge(
            f"the request has {images} images, more than {limits.images}",
            hint="send them in several requests",
        )
    if images < 1:
        raise UsageError("the request has no image")


def _rows(tensor: InputTensor, raw: memoryview | None, limits: InputLimits) -> list[Item]:
    shape = tuple(tensor.shape)
    wanted = limits.spec.shape
    if len(shape) != len(wanted) or any(
        size < 1 or (isinstance(want, int) and size != want)
        for size, want in zip(shape[1:], wanted[1:], strict=True)
    ):
        raise UsageError(
            f"the shape of {tensor.name} is wrong", expected=str(limits.spec), got=str(tensor.shape)
        )
    _check_count(shape[0], limits)
    dtype = np.dtype(limits.spec.dtype)
    values = _numbers(tensor, dtype) if raw is None else _raw_numbers(tensor, raw, dtype)
    if values.size != math.prod(shape):
        raise UsageError(
            f"the data of {tensor.name} is not of its shape",
            expected=f"{math.prod(shape)} values",
            got=str(values.size),
        )
    return list(np.require(values, dtype, ["C", "A"]).reshape(shape[0], 1, *shape[1:]))


def _raw_numbers(
    tensor: InputTensor, raw: memoryview, dtype: np.dtype[np.generic]
) -> npt.NDArray[np.generic]:
    if len(raw) % dtype.itemsize:
        raise MalformedBody(f"the {len(raw)} bytes of {tensor.name} are no whole number of values")
    return np.frombuffer(raw, dtype=dtype.newbyteorder("<"))


def _numbers(tensor: InputTensor, dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    flat = _flat(tensor.data)
    values = np.asarray([None] if flat is None else flat)
    if values.size and values.dtype.kind not in "iuf":
        raise UsageError(f"the data of {tensor.name} must be a list of numbers, nested or not")
    with np.errstate(all="ignore"):
        cast = values.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(cast, values):
        raise UsageError(f"the data of {tensor.name} has numbers that {dtype} does not hold")
    return cast


def _flat(data: Any) -> list[int | float] | None:
    """The numbers of a list, or of lists of the same lengths in one; None where it is anything else."""
    while isinstance(data, list) and data and isinstance(data[0], list):
        length = len(data[0])
        if not all(isinstance(row, list) and len(row) == length for row in data):
            return None
        data = list(itertools.chain.from_iterable(data))
    # NumPy would make an array of one long text and a million short ones in which each is as long as that.
    return data if isinstance(data, list) and set(map(type, data)) <= {int, float} else None


def _images(tensor: InputTensor, raw: memoryview | None, limits: InputLimits) -> list[Item]:
    if not 1 <= len(tensor.shape) <= 2 or tensor.shape[1:] not in ([], [1]):
        raise UsageError("the shape of the images is wrong", expected="[N] or [N,1]", got=str(tensor.shape))
    count = tensor.shape[0]
    _check_count(count, limits)
    images = _texts(tensor) if raw is None else _elements(raw, limits.images)
    if len(images) != count:
        raise UsageError("the data is not of its shape", expected=f"{count} images", got=str(len(images)))
    if any(len(image) > limits.image_bytes for image in images):
        raise ImageTooLarge(
            f"an image is larger than {limits.image_bytes} bytes", hint="send a smaller image"
        )
    return list(images)


def _texts(tensor: InputTensor) -> Sequence[Item]:
    data = tensor.data if isinstance(tensor.data, list) else [None]
    flat: list[Any] = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in data]
    texts = [item for item in flat if isinstance(item, str)]
    if len(texts) < len(flat):
        raise UsageError(
            "images in JSON must be a list of base64 strings", hint="or send them as binary data"
        )
    return texts


def _elements(raw: memoryview, most: int) -> Sequence[Item]:
    images: list[Item] = []
    at = 0
    while at < len(raw) and len(images) <= most:
        end = at + _LENGTH.size
        length = _LENGTH.unpack_from(raw, at)[0] if end <= len(raw) else len(raw)
        if end + length > len(raw):
            raise MalformedBody(f"image {len(images)} is longer than the bytes that are there")
        images.append(bytes(raw[end : end + length]))
        at = end + length
    return images


@dataclass(frozen=True)
class Output:
    """An output tensor: float32, or texts."""

    name: str
    values: npt.NDArray[np.float32] | list[list[str]]
    binary: bool

    def encode(self) -> tuple[dict[str, Any], bytes]:
        """Its description, and the bytes that follow the JSON.

        Raises:
            UsageError: JSON cannot hold it.
        """
        if isinstance(self.values, np.ndarray):
            datatype, shape = "FP32", list(self.values.shape)
            raw = self.values.astype(LITTLE_FLOAT).tobytes() if self.binary else b""
        else:
            datatype, shape = BYTES, [len(self.values), len(self.values[0])]
            encoded = [text.encode() for row in self.values for text in row] if self.binary else []
            raw = b"".join(_LENGTH.pack(len(text)) + text for text in encoded)
        described: dict[str, Any] = {"name": self.name, "datatype": datatype, "shape": shape}
        if self.binary:
            return {**described, "parameters": {"binary_data_size": len(raw)}}, raw
        if isinstance(self.values, np.ndarray):
            if not np.isfinite(self.values).all():
                raise UsageError(f"{self.name} has values that JSON cannot hold", hint="ask for binary data")
            return {**described, "data": self.values.ravel().tolist()}, b""
        return {**described, "data": [text for row in self.values for text in row]}, b""
