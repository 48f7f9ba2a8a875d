"""`POST /classify` and `POST /classify_batch`: images in, named classes out."""

from __future__ import annotations

import json
import math
from json.encoder import encode_basestring as _quoted

from starlette.requests import Request
from starlette.responses import Response

from pinnace.models.answer import Answer
from pinnace.models.errors import PinnaceError
from pinnace.models.predictions import DEFAULT_TOP_K
from pinnace.serving.errors import error_data
from pinnace.serving.http import hugging_face
from pinnace.serving.http.bodies import AnswerBody, AnswersBody, ErrorBody, PredictionBody, ScoreBody
from pinnace.serving.http.endpoint import receive_within, record_timing, rounded, wait_for_answer
from pinnace.serving.http.openapi.examples import IMAGE, example
from pinnace.serving.http.openapi.responses import FOR_AN_IMAGE, failures, success
from pinnace.serving.http.openapi.schemas import object_of, ref
from pinnace.serving.http.openapi.tags import CLASSIFICATION
from pinnace.serving.http.request_body import (
    BATCH_FIELD,
    FORM,
    IMAGE_FIELD,
    JSON,
    RAW,
    THRESHOLD,
    TOP_K,
    BodyLimits,
    read_batch,
    read_upload,
)
from pinnace.serving.http.state import server_state
from pinnace.serving.inference.registry import RegisteredModel
from pinnace.serving.json_line import JsonLine
from pinnace.serving.observability.metrics import server_timing
from pinnace.serving.routes import Json, Route, RouteFamily, ServerFacts


async def classify(request: Request) -> Response:
    """`POST /classify` and `POST /models/{name}/classify`: one image in, named classes out."""
    state = server_state(request)
    settings, admission = state.settings, state.models.admission
    model = requested_model(request)
    admission.check()
    with admission.reserved_memory() as hold:
        limits = BodyLimits(
            settings.max_body_bytes,
            hold,
            model.engine.check_top_k,
            model.engine.check_threshold,
            parameters=model.engine.parameters,
        )
        read = hugging_face.read_upload if hugging_face.is_asked(request) else read_upload
        upload = await receive_within(read(request, limits), settings.upload_timeout)
        answer = await wait_for_answer(request, model.classify(upload), settings.timeout)
    record_answer(request, answer)
    if read is not read_upload:
        return JsonLine(hugging_face.scores_body(answer), headers=server_timing(answer.timing_ms))
    return Response(answer_json(answer) + "\n", media_type=JSON, headers=server_timing(answer.timing_ms))


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
            model.engine.check_threshold,
            image_bytes=settings.max_body_bytes,
            images=settings.max_batch_images,
            parameters=model.engine.parameters,
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
    return JsonLine({"results": results})


def requested_model(request: Request) -> RegisteredModel:
    """The model that the path names; the default one, where it names none."""
    return server_state(request).models.model(request.path_params.get("name"))


def record_answer(request: Request, answer: Answer) -> None:
    """Write an answer's times to the log and the trace."""
    names = {
        "model": answer.model,
        "version": answer.version,
        "variant": answer.variant,
        "runtime": answer.runtime,
    }
    record_timing(request, answer.timing_ms, names)


def answer_json(answer: Answer) -> str:
    """What `answer_body` gives, as JSON text, written in half of the time.

    Raises:
        ValueError: a probability is not a number.
    """
    if answer.threshold is not None or not math.isfinite(sum(p.probability for p in answer.predictions)):
        return json.dumps(answer_body(answer), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    predictions = ",".join(
        f'{{"label":{_quoted(p.label)},"index":{p.index},"probability":{p.probability!r}}}'
        for p in answer.predictions
    )
    timing = answer.timing_ms
    return (
        f'{{"model":{_quoted(answer.model)},"version":{_quoted(answer.version)},'
        f'"variant":{_quoted(answer.variant)},"runtime":{_quoted(answer.runtime)},'
        f'"predictions":[{predictions}],'
        f'"timing_ms":{{"decode":{timing.decode:.3f},"preprocess":{timing.preprocess:.3f},'
        f'"queue":{timing.queue:.3f},"infer":{timing.infer:.3f},"total":{timing.total:.3f}}}}}'
    )


def answer_body(answer: Answer) -> AnswerBody:
    """An answer as JSON data; times in milliseconds to the microsecond."""
    predictions: list[PredictionBody] = [
        {"label": p.label, "index": p.index, "probability": p.probability} for p in answer.predictions
    ]
    body: AnswerBody = {
        "model": answer.model,
        "version": answer.version,
        "variant": answer.variant,
        "runtime": answer.runtime,
        "predictions": predictions,
        "timing_ms": rounded(answer.timing_ms),
    }
    if answer.threshold is not None:
        body["threshold"] = answer.threshold
        for data, prediction in zip(predictions, answer.predictions, strict=True):
            data["above_threshold"] = bool(prediction.above_threshold)
    return body


_WAYS = (
    "The image is the raw body, the field `image` of a form, or base64 in JSON. Its type is decided by its "
    "bytes. A `top_k` or `threshold` in the body counts more than one in the query. With `format=hf`, the "
    "answer is Hugging Face's list of labels and scores, and the JSON may have its form, `inputs` and "
    "`parameters`."
)
_EACH = "An answer or an error for each image, in order: one bad image does not spoil the rest."
_THRESHOLD: Json = {
    "type": "number",
    "minimum": 0,
    "maximum": 1,
    "description": "From which score on a label counts as true, in a model of which several labels may be.",
}
_FORMAT: Json = {
    "name": hugging_face.FORMAT,
    "in": "query",
    "required": False,
    "schema": {"type": "string", "enum": [hugging_face.HF]},
    "description": "Answer with Hugging Face's list of labels and scores. `function_to_apply` may then be "
    "`softmax`, `sigmoid` or `none`.",
}
_TIMING: Json = {"schema": {"type": "string"}, "description": "`timing_ms` once more, for browsers."}


def describe_classify(
    operation: str, summary: str, most: int | None, *, threshold: bool, name: Json | None = None
) -> Json:
    """A route for one image as an OpenAPI operation.

    Args:
        operation: its id.
        summary: a line.
        most: the largest `top_k`, where it is known.
        threshold: whether a model is meant of which several labels may be true.
        name: the parameter of the path, where there is one.
    """
    parameters = _parameters(most, threshold)
    nullable = {key: {**schema, "nullable": True} for key, schema in parameters.items()}
    image = {"type": "string", "format": "binary"}
    form = _closed({IMAGE_FIELD: image, **parameters}, IMAGE_FIELD)
    text = {"type": "string", "format": "byte", "minLength": 1, "description": "The image in base64."}
    data = _closed({IMAGE_FIELD: text, **nullable}, IMAGE_FIELD)
    # The first is the one that is offered, and of a file there can be no example.
    content = {
        JSON: {"schema": data, **example(IMAGE)},
        FORM: {"schema": form},
        "image/*": {"schema": image},
        RAW: {"schema": image},
    }
    scores = {"type": "array", "items": ref(ScoreBody)}
    answer = success("The most probable classes, most probable first.", {"oneOf": [ref(AnswerBody), scores]})
    answer["200"]["headers"] = {"Server-Timing": _TIMING}
    query = [*_queries(parameters), _FORMAT]
    return _operation(operation, summary, _WAYS, query, name, content, answer)


def describe_classify_batch(
    operation: str,
    summary: str,
    most: int | None,
    images: int,
    *,
    threshold: bool,
    name: Json | None = None,
) -> Json:
    """A route for several images as an OpenAPI operation; `images` at most, else as `describe_classify`."""
    parameters = _parameters(most, threshold)
    files = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": 1,
        "maxItems": images,
        "description": "The field is repeated for each image.",
    }
    content = {FORM: {"schema": _closed({BATCH_FIELD: files, **parameters}, BATCH_FIELD)}}
    answer = success("The images were looked at, each for itself.", ref(AnswersBody))
    return _operation(operation, summary, _EACH, _queries(parameters), name, content, answer)


def _operation(
    operation: str,
    summary: str,
    text: str,
    query: list[Json],
    name: Json | None,
    content: Json,
    answer: Json,
) -> Json:
    unknown = () if name is None else ("404",)
    return {
        "summary": summary,
        "description": text,
        "operationId": operation,
        "tags": [CLASSIFICATION],
        "parameters": query if name is None else [name, *query],
        "requestBody": {"required": True, "content": content},
        "responses": {**answer, **failures(*FOR_AN_IMAGE, *unknown)},
    }


def _parameters(most: int | None, threshold: bool) -> dict[str, Json]:
    return {TOP_K: _top_k(most), **({THRESHOLD: _THRESHOLD} if threshold else {})}


def _queries(parameters: dict[str, Json]) -> list[Json]:
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in parameters.items()
    ]


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


def _describe_default(facts: ServerFacts) -> Json | None:
    if not facts.default_is(facts.classifiers):
        return None
    threshold = facts.default_is(facts.several_labels)
    return describe_classify("classify", "Classify one image", facts.default_top_k, threshold=threshold)


def _describe_default_batch(facts: ServerFacts) -> Json | None:
    if not facts.default_is(facts.classifiers):
        return None
    return describe_classify_batch(
        "classify_batch",
        "Classify several images",
        facts.default_top_k,
        facts.max_batch_images,
        threshold=facts.default_is(facts.several_labels),
    )


FAMILY = RouteFamily(
    rank=10,
    routes=(
        Route(
            "/classify",
            "POST",
            classify,
            fast=True,
            listed="one image: raw body, multipart field image, or JSON; top_k, threshold, format=hf",
            operation=_describe_default,
            bodies=(AnswerBody, ScoreBody, ErrorBody),
        ),
        Route(
            "/classify_batch",
            "POST",
            classify_batch,
            listed="several images: multipart field images, repeated; top_k, threshold",
            operation=_describe_default_batch,
            bodies=(AnswersBody,),
        ),
    ),
)
