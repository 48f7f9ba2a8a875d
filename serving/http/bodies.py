"""The bodies of answers, as types: handlers return them, and pydantic makes the OpenAPI document of them.

A body `AnswerBody` is the component `Answer` of the document.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

Milliseconds = Annotated[float, Field(ge=0, description="milliseconds")]
Count = Annotated[int, Field(ge=0)]
ModelName = Annotated[str, Field(json_schema_extra={"example": "resnet50"})]
VariantNameText = Annotated[str, Field(json_schema_extra={"example": "onnx-fp32"})]
RuntimeName = Annotated[str, Field(json_schema_extra={"example": "onnxruntime"})]
Version = Annotated[
    str,
    Field(
        description="The first twelve digits of the SHA-256 of the bundle's manifest.json.",
        json_schema_extra={"example": "5b0ab5b9d35c"},
    ),
]
ParityFields = Annotated[
    dict[str, Any] | None,
    Field(description="How far the variant lies from the original; as in the manifest."),
]


class PredictionBody(TypedDict):
    """One class."""

    label: Annotated[str, Field(json_schema_extra={"example": "Egyptian cat"})]
    index: Annotated[int, Field(ge=0, json_schema_extra={"example": 285})]
    probability: Annotated[float, Field(ge=0, le=1, json_schema_extra={"example": 0.381})]


class TimingBody(TypedDict):
    """Where the time of one image went."""

    decode: Milliseconds
    preprocess: Milliseconds
    queue: Milliseconds
    infer: Milliseconds
    total: Milliseconds


class AnswerBody(TypedDict):
    """What a model says of one image."""

    model: ModelName
    version: Version
    variant: VariantNameText
    runtime: RuntimeName
    predictions: list[PredictionBody]
    timing_ms: TimingBody


class ErrorFields(TypedDict):
    """What went wrong."""

    code: Annotated[str, Field(json_schema_extra={"example": "undecodable_image"})]
    message: Annotated[str, Field(description="One sentence.")]
    hint: Annotated[str | None, Field(description="What to do.")]


class ErrorBody(TypedDict):
    """What went wrong with a request, or with one image of a batch."""

    error: ErrorFields


class AnswersBody(TypedDict):
    """What a model says of the images of a batch."""

    results: Annotated[list[AnswerBody | ErrorBody], Field(description="One for each image, in order.")]


class InputBody(TypedDict):
    """The input of a model."""

    name: str
    dtype: str
    shape: Annotated[list[int | str], Field(description="A dynamic dimension is a string.")]


class VariantBody(TypedDict):
    """One file of a bundle."""

    name: VariantNameText
    format: str
    precision: str
    bytes: Count
    parity: ParityFields


class ModelBody(TypedDict):
    """One model: what answers, what it expects, and how far each variant lies from the original."""

    name: ModelName
    version: Version
    created: Annotated[str, Field(description="When the bundle was exported, ISO 8601.")]
    variant: VariantNameText
    runtime: RuntimeName
    classes: Count
    labels: list[str]
    preprocess: Annotated[dict[str, Any], Field(description="As in the bundle's manifest.")]
    input: InputBody
    parity: ParityFields
    variants: Annotated[
        list[VariantBody],
        Field(description="Everything that the bundle holds; `variant` is the one that answers."),
    ]


class ModelsBody(TypedDict):
    """The models that are served."""

    models: list[ModelBody]


class IndexBody(TypedDict):
    """The default model, the names of all, and the routes."""

    model: ModelName
    variant: VariantNameText
    runtime: RuntimeName
    classes: Count
    models: list[str]
    routes: dict[str, str]


class ReloadedBody(TypedDict):
    """What a reload came to."""

    model: ModelName
    version: Version
    previous: Version
    workers: int
