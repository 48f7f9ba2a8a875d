"""`POST /classify` and `POST /classify_batch`: images in, named classes out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pinnace.models.answer import Answer
from pinnace.models.errors import PinnaceError
from pinnace.models.predictions import DEFAULT_TOP_K
from pinnace.serving.errors import error_data
from pinnace.serving.http.bodies import AnswerBody, AnswersBody, ErrorBody
from pinnace.serving.http.endpoint import receive_within, record_timing, rounded, wait_for_answer
from pinnace.serving.http.openapi.responses import FOR_AN_IMAGE, failures, success
from pinnace.serving.http.openapi.schemas import object_of, ref
from pinnace.serving.http.openapi.tags import CLASSIFICATION
from pinnace.serving.http.request_body import (
    BATCH_FIELD,
    FORM,
    IMAGE_FIELD,
    JSON,
    RAW,
    TOP_K,
    BodyLimits,
    read_batch,
    read_upload,
)
from pinnace.serving.http.state import server_state
from pinnace.serving.inference.registry import RegisteredModel
from pinnace.serving.observability.metrics import server_timing
from pinnace.serving.routes import Json, Route, RouteFamily, ServerFacts


async def classify(request: Request) -> Response:
    """`POST /classify` and `POST /models/{name}/classify`: one image in, named classes out."""
    state = server_state(request)
    settings, admission = state.settings, state.models.admission
    model = requested_model(request)
    admission.check()
    with admission.reserved_memory() as hold:
        limits = BodyLimits(settings.max_body_bytes, hold, model.engine.check_top_k)
        upload = await receive_within(read_upload(request, limits), settings.upload_timeout)
        answer = await wait_for_answer(request, model.classify(upload), settings.timeout)
    record_answer(request, answer)
    return JSONResponse(answer_body(answer), headers=server_timing(answer.timing_ms))


async def classify_batch(request: Request) -> Response:
    """`POST /classify_batch`: several images in, an answer or an error for each, in order."""
    state = server_state(request)
    settings, admission = state.settings, state.models.admission
    model = requested_model(request)
    admission.check()
    with admission.reserved_memory() as hold:
        limits = BodyLimits(
            settings.max_batch_bytes,
            hold,
            model.engine.check_top_k,
            image_bytes=settings.max_body_bytes,
            images=settings.max_batch_images,
        )
        batch = await receive_within(read_batch(request, limits), settings.upload_timeout)
        # The engine gives every image the time there is; this is for what should not happen.
        outcomes = await wait_for_answer(request, model.classify_batch(batch), 2 * settings.timeout)
    for outcome in outcomes:
        if not isinstance(outcome, PinnaceError):
            record_answer(request, outcome)
    results = [
        error_data(outcome) if isinstance(outcome, PinnaceError) else answer_body(outcome)
        for outcome in outcomes
    ]
    return JSONResponse({"results": results})


def requested_model(request: Request) -> RegisteredModel:
    """The model that the path names; the default one, where it names none."""
    return server_state(request).models.model(request.path_params.get("name"))


def record_answer(request: Request, answer: Answer) -> None:
    """Write an answer's times to the log and the trace."""
    names = {name: getattr(answer, name) for name in ("model", "version", "variant", "runtime")}
    record_timing(request, answer.timing_ms, names)


def answer_body(answer: Answer) -> AnswerBody:
    """An answer as JSON data; times in milliseconds to the microsecond."""
    return {
        "model": answer.model,
        "version": answer.version,
        "variant": answer.variant,
        "runtime": answer.runtime,
        "predictions": [
            {"label": p.label, "index": p.index, "probability": p.probability} for p in answer.predictions
        ],
        "timing_ms": rounded(answer.timing_ms),
    }


_WAYS = (
    "The image is the raw body, the field `image` of a form, or base64 in JSON. Its type is decided by its "
    "bytes. A `top_k` in the body counts more than one in the query."
)
_EACH = "An answer or an error for each image, in order: one bad image does not spoil the rest."
_TIMING: Json = {"schema": {"type": "string"}, "description": "`timing_ms` once more, for browsers."}


def describe_classify(operation: str, summary: str, most: int | None, name: Json | None = None) -> Json:
    """A route for one image as an OpenAPI operation.

    Args:
        operation: its id.
        summary: a line.
        most: the largest `top_k`, where it is known.
        name: the parameter of the path, where there is one.
    """
    top_k = _top_k(most)
    image = {"type": "string", "format": "binary"}
    form = _closed({IMAGE_FIELD: image, TOP_K: top_k}, IMAGE_FIELD)
    text = {"type": "string", "format": "byte", "minLength": 1, "description": "The image in base64."}
    data = _closed({IMAGE_FIELD: text, TOP_K: {**top_k, "nullable": True}}, IMAGE_FIELD)
    content = {
        FORM: {"schema": form},
        "image/*": {"schema": image},
        RAW: {"schema": image},
        JSON: {"schema": data},
    }
    answer = success("The most probable classes, most probable first.", ref(AnswerBody))
    answer["200"]["headers"] = {"Server-Timing": _TIMING}
    return _operation(operation, summary, _WAYS, top_k, name, content, answer)


def describe_classify_batch(
    operation: str, summary: str, most: int | None, images: int, name: Json | None = None
) -> Json:
    """A route for several images as an OpenAPI operation; `images` at most, else as `describe_classify`."""
    top_k = _top_k(most)
    files = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": 1,
        "maxItems": images,
        "description": "The field is repeated for each image.",
    }
    content = {FORM: {"schema": _closed({BATCH_FIELD: files, TOP_K: top_k}, BATCH_FIELD)}}
    answer = success("The images were looked at, each for itself.", ref(AnswersBody))
    return _operation(operation, summary, _EACH, top_k, name, content, answer)


def _operation(
    operation: str, summary: str, text: str, top_k: Json, name: Json | None, content: Json, answer: Json
) -> Json:
    query = {"name": TOP_K, "in": "query", "required": False, "schema": top_k}
    unknown = () if name is None else ("404",)
    return {
        "summary": summary,
        "description": text,
        "operationId": operation,
        "tags": [CLASSIFICATION],
        "parameters": [query] if name is None else [name, query],
        "requestBody": {"required": True, "content": content},
        "responses": {**answer, **failures(*FOR_AN_IMAGE, *unknown)},
    }


def _top_k(most: int | None) -> Json:
    schema: Json = {
        "type": "integer",
        "minimum": 1,
        "default": DEFAULT_TOP_K if most is None else min(DEFAULT_TOP_K, most),
        "description": "How many classes to answer with, at most the number of classes.",
    }
    return schema if most is None else {**schema, "maximum": most}


def _closed(properties: Json, required: str) -> Json:
    return {**object_of(properties, [required]), "additionalProperties": False}


def _describe_default(facts: ServerFacts) -> Json:
    return describe_classify("classify", "Classify one image", facts.default_top_k)


def _describe_default_batch(facts: ServerFacts) -> Json:
    return describe_classify_batch(
        "classify_batch", "Classify several images", facts.default_top_k, facts.max_batch_images
    )


FAMILY = RouteFamily(
    rank=10,
    routes=(
        Route(
            "/classify",
            "POST",
            classify,
            fast=True,
            listed="one image: raw body, multipart field image, or JSON; top_k",
            operation=_describe_default,
            bodies=(AnswerBody, ErrorBody),
        ),
        Route(
            "/classify_batch",
            "POST",
            classify_batch,
            listed="several images: multipart field images, repeated; top_k",
            operation=_describe_default_batch,
            bodies=(AnswersBody,),
        ),
    ),
)
