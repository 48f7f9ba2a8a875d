"""The bodies of the protocol's answers; its request is `tensors.InferRequest`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import NotRequired, TypedDict


class TensorServerBody(TypedDict):
    """What this server is."""

    name: str
    version: str
    extensions: list[str]


class TensorDescriptionBody(TypedDict):
    """An input or output of a model; a dynamic dimension is -1."""

    name: str
    datatype: str
    shape: list[int]


class TensorModelBody(TypedDict):
    """A model's inputs and outputs."""

    name: str
    versions: list[str]
    platform: str
    inputs: Annotated[list[TensorDescriptionBody], Field(min_length=1)]
    outputs: Annotated[list[TensorDescriptionBody], Field(min_length=1)]


class TensorBody(TypedDict):
    """A tensor; its data is here, or follows the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: NotRequired[dict[str, Any]]
    data: NotRequired[Annotated[list[Any], Field(description="Row-major.")]]


class InferResponseBody(TypedDict):
    """The model's outputs."""

    model_name: str
    model_version: str
    id: NotRequired[str]
    outputs: Annotated[list[TensorBody], Field(min_length=1)]


class LiveBody(TypedDict):
    """Whether the process is up."""

    live: bool


class ReadyBody(TypedDict):
    """Whether every worker has warmed up."""

    ready: bool


class ModelReadyBody(TypedDict):
    """Whether a model is served."""

    name: str
    ready: bool


class TensorErrorBody(TypedDict):
    """What went wrong, in the protocol's form."""

    error: str
    code: str
