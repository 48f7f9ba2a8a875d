"""The bodies of answers, as types: handlers return them, and pydantic makes the OpenAPI document of them.

A body `AnswerBody` is the component `Answer` of the document.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

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
    above_threshold: NotRequired[
        Annotated[bool, Field(description="Whether the label counts as true, where several may be.")]
    ]


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
    threshold: NotRequired[
        Annotated[
            float,
            Field(
                ge=0, le=1, description="From which score on a label counts as true, where several may be."
            ),
        ]
    ]


class EmbeddingBody(TypedDict):
    """The vector of one image."""

    model: ModelName
    version: Version
    variant: VariantNameText
    runtime: RuntimeName
    embedding: list[float]
    normalised: Annotated[bool, Field(description="Whether its Euclidean norm is 1.")]
    timing_ms: TimingBody


Share = Annotated[float, Field(description="A share of the image's width or height.")]


class PartBody(TypedDict):
    """Which part of the image, the right way up, the model sees; what lies outside of 0..1 is padding."""

    left: Share
    top: Share
    width: Share
    height: Share


class ExplanationBody(TypedDict):
    """How much the score of a class drops while each field of a grid is covered."""

    model: ModelName
    version: Version
    variant: VariantNameText
    runtime: RuntimeName
    label: Annotated[str, Field(json_schema_extra={"example": "Egyptian cat"})]
    index: Annotated[int, Field(ge=0, json_schema_extra={"example": 285})]
    probability: Annotated[float, Field(ge=0, le=1, description="With nothing covered.")]
    drops: Annotated[
        list[list[float]],
        Field(description="Row by row from the top; negative where the score rises."),
    ]
    part: Annotated[PartBody, Field(description="Where the grid lies.")]
    timing_ms: TimingBody


class OpenAiEmbeddingBody(TypedDict):
    """One vector, as OpenAI's clients read it."""

    object: Literal["embedding"]
    index: Count
    embedding: Annotated[list[float] | str, Field(description="In base64: float32, little-endian.")]


class OpenAiUsageBody(TypedDict):
    """Images are no tokens."""

    prompt_tokens: Count
    total_tokens: Count


class OpenAiEmbeddingsBody(TypedDict):
    """The vectors of images, as OpenAI's clients read them."""

    object: Literal["list"]
    data: list[OpenAiEmbeddingBody]
    model: ModelName
    usage: OpenAiUsageBody


class OpenAiModelBody(TypedDict):
    """A model, as OpenAI's clients read it."""

    id: ModelName
    object: Literal["model"]
    created: Annotated[int, Field(description="When the bundle was exported, in seconds since 1970.")]
    owned_by: str


class OpenAiModelsBody(TypedDict):
    """Models, as OpenAI's clients read them."""

    object: Literal["list"]
    data: list[OpenAiModelBody]


class OpenAiErrorFields(TypedDict):
    """What went wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAiErrorBody(TypedDict):
    """What went wrong with a request below `/v1`."""

    error: OpenAiErrorFields


class ScoreBody(TypedDict):
    """One class, as Hugging Face's image classification names it."""

    label: Annotated[str, Field(json_schema_extra={"example": "Egyptian cat"})]
    score: Annotated[float, Field(json_schema_extra={"example": 0.381})]


class OutputsBody(TypedDict):
    """What the answers of a model mean; as in the bundle's manifest."""

    meaning: Annotated[
        Literal["logits", "probabilities", "sigmoid", "embedding", "tensors"],
        Field(description="One class is true, or of `sigmoid` several labels may be, or it is a vector."),
    ]
    name: str | None
    function: Literal["softmax", "sigmoid", "none"]
    classes: Annotated[int, Field(ge=1)] | None
    normalised: bool | None
    threshold: Annotated[float, Field(ge=0, le=1)] | None
    evidence: str


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
    outputs: OutputsBody
    parity: ParityFields
    variants: Annotated[
        list[VariantBody],
        Field(description="Everything that the bundle holds; `variant` is the one that answers."),
    ]


class ModelsBody(TypedDict):
    """The models that are served."""

    models: list[ModelBody]


class LimitsBody(TypedDict):
    """The most that may be asked."""

    max_body_bytes: Count
    max_pixels: Count
    max_top_k: Annotated[Count | None, Field(description="Null where a model's classes are the limit.")]


class IndexBody(TypedDict):
    """The default model, the names of all, and the routes."""

    model: ModelName
    variant: VariantNameText
    runtime: RuntimeName
    classes: Count
    models: list[str]
    explain: Annotated[bool, Field(description="Whether `POST /explain` is answered.")]
    limits: LimitsBody
    routes: dict[str, str]


class ReloadedBody(TypedDict):
    """What a reload came to."""

    model: ModelName
    version: Version
    previous: Version
    workers: int
    note: NotRequired[str]
