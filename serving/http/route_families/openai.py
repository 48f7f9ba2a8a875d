"""`/v1`: embeddings in OpenAI's form, for its clients. Images are `data:` URLs; nothing is fetched.

See https://platform.openai.com/docs/api-reference/embeddings.
"""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from pinnace.models.embedder import Embedder
from pinnace.models.errors import UnsupportedImage, UsageError
from pinnace.serving.errors import BatchTooLarge
from pinnace.serving.http.bodies import (
    OpenAiEmbeddingBody,
    OpenAiEmbeddingsBody,
    OpenAiErrorBody,
    OpenAiModelBody,
    OpenAiModelsBody,
)
from pinnace.serving.http.endpoint import receive_within, record_timing, wait_for_answer
from pinnace.serving.http.off_loop import off_loop
from pinnace.serving.http.openapi.examples import DATA_URL, example
from pinnace.serving.http.openapi.responses import ANYWHERE, success
from pinnace.serving.http.openapi.schemas import object_of, ref
from pinnace.serving.http.openapi.tags import EMBEDDINGS
from pinnace.serving.http.request_body import JSON, BodyLimits, content_type, parse_json_object, read_body
from pinnace.serving.http.state import server_state
from pinnace.serving.json_line import JsonLine
from pinnace.serving.observability.metrics import server_timing
from pinnace.serving.routes import Json, Route, RouteFamily, ServerFacts

PREFIX = "/v1"

_DATA_URL = re.compile(r"data:[^,;]*(?:;[^,;]*)*;base64,", re.IGNORECASE)
_HINT = 'send {"model": "NAME", "input": "data:image/jpeg;base64,..."}'
_FIELDS = ("model", "input", "encoding_format", "user", "dimensions")
_ENCODINGS = ("float", "base64")
# Brackets, commas and colons of one data URL, and of the rest.
_PARTS_EACH, _PARTS = 4, 60


async def embeddings(request: Request) -> Response:
    """`POST /v1/embeddings`: images as `data:` URLs in, their vectors out."""
    state = server_state(request)
    settings, admission = state.settings, state.models.admission
    if content_type(request) != JSON:
        raise UnsupportedImage("the body is not JSON", hint=_HINT)
    admission.check()
    with admission.reserved_memory() as hold:
        limits = BodyLimits(settings.max_body_bytes, hold)
        body = await receive_within(read_body(request, limits), settings.upload_timeout)
        most = settings.max_batch_images
        parts = _PARTS + _PARTS_EACH * most
        data = await off_loop(len(body), parse_json_object, body, _HINT, parts)
        images, name, encoding = await off_loop(len(body), _parsed, data, most)
        model = state.models.model(name)
        _ = model.engine.embedder
        answering, rows = await wait_for_answer(request, model.infer(images), 2 * settings.timeout)
        assert isinstance(answering, Embedder)
    names = {
        "model": model.name,
        "version": answering.bundle.version,
        "variant": answering.variant.name,
        "runtime": answering.runtime.name,
    }
    for row in rows:
        record_timing(request, row.timing_ms, names)
    answer: OpenAiEmbeddingsBody = {
        "object": "list",
        "data": [_embedding(index, row.logits, encoding) for index, row in enumerate(rows)],
        "model": model.name,
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
    }
    slowest = max((row.timing_ms for row in rows), key=lambda timing: timing.total)
    return JsonLine(answer, headers=server_timing(slowest))


async def models(request: Request) -> Response:
    """`GET /v1/models`: the models that embed."""
    found: list[OpenAiModelBody] = []
    for model in server_state(request).models.answering:
        if isinstance(model, Embedder):
            created = int(datetime.fromisoformat(model.bundle.manifest.created).timestamp())
            found.append(
                {"id": model.bundle.name, "object": "model", "created": created, "owned_by": "pinnace"}
            )
    body: OpenAiModelsBody = {"object": "list", "data": found}
    return JsonLine(body)


def _parsed(data: dict[str, Any], most: int) -> tuple[list[str], str | None, str]:
    """The base64 texts of the images, the model's name, and the encoding of the vectors."""
    for field in data:
        if field not in _FIELDS:
            raise UsageError(f"the body has an unknown field {field[:80]!r}", hint=_HINT)
    if data.get("dimensions") is not None:
        raise UsageError("dimensions cannot be chosen: a vector has as many as the model gives")
    name, encoding = data.get("model"), data.get("encoding_format") or "float"
    if name is not None and not isinstance(name, str):
        raise UsageError("model must be a name", hint=_HINT)
    if encoding not in _ENCODINGS:
        raise UsageError(f"encoding_format must be {' or '.join(_ENCODINGS)}")
    given = data.get("input")
    urls = [url for url in (given if isinstance(given, list) else [given]) if isinstance(url, str)]
    if not urls or (isinstance(given, list) and len(urls) < len(given)):
        raise UsageError("input must be a data: URL, or a list of them", hint=_HINT)
    if len(urls) > most:
        raise BatchTooLarge(f"input has more than {most} images", hint="send them in several requests")
    return [_base64_of(url) for url in urls], name, encoding


def _base64_of(url: str) -> str:
    start = _DATA_URL.match(url[:200])
    if start is None:
        raise UsageError(
            "input must be a data: URL with base64, because nothing is fetched", got=url[:40], hint=_HINT
        )
    return url[start.end() :]


def _embedding(index: int, vector: Any, encoding: str) -> OpenAiEmbeddingBody:
    if encoding == "base64":
        text = base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode("ascii")
        return {"object": "embedding", "index": index, "embedding": text}
    return {"object": "embedding", "index": index, "embedding": [float(value) for value in vector]}


def error_form(body: dict[str, dict[str, str | None]]) -> Json:
    """The body of an error as OpenAI's clients read it."""
    error = body["error"]
    sentence = "; ".join(part for part in (error["message"], error["hint"]) if part)
    return {
        "error": {
            "message": sentence,
            "type": "invalid_request_error",
            "param": None,
            "code": error["code"],
        }
    }


def _failures(*statuses: str) -> Json:
    content = {JSON: {"schema": ref(OpenAiErrorBody)}}
    return {status: {"description": "What went wrong.", "content": content} for status in statuses}


def _describe_embeddings(facts: ServerFacts) -> Json | None:
    if not facts.default_is(facts.embedders):
        return None
    url = {
        "type": "string",
        "pattern": "^[dD][aA][tT][aA]:[^,]*;[bB][aA][sS][eE]64,",
        "description": "`data:image/jpeg;base64,...`. Other URLs are refused: nothing is fetched.",
    }
    schema = object_of(
        {
            "model": {"type": "string", "description": "The default model where it is missing."},
            "input": {"oneOf": [url, {"type": "array", "items": url, "maxItems": facts.max_batch_images}]},
            "encoding_format": {"type": "string", "enum": list(_ENCODINGS)},
            "user": {"type": "string", "description": "Not looked at."},
        },
        ["input"],
    )
    return {
        "summary": "The vectors of images, in OpenAI's form",
        "operationId": "openai_embeddings",
        "tags": [EMBEDDINGS],
        "requestBody": {"required": True, "content": {JSON: {"schema": schema, **example(DATA_URL)}}},
        "responses": {
            **success("The vectors, in the order of the images.", ref(OpenAiEmbeddingsBody)),
            **_failures(*ANYWHERE, "400", "404", "408", "413", "415", "422", "503", "504"),
        },
    }


def _describe_models(facts: ServerFacts) -> Json:
    return {
        "summary": "The models that embed, in OpenAI's form",
        "operationId": "openai_models",
        "tags": [EMBEDDINGS],
        "responses": {**success("The models.", ref(OpenAiModelsBody)), **_failures(*ANYWHERE)},
    }


FAMILY = RouteFamily(
    rank=25,
    prefix=PREFIX,
    error_form=error_form,
    routes=(
        Route(
            f"{PREFIX}/embeddings",
            "POST",
            embeddings,
            listed="OpenAI's form: data: URLs of images in, the vectors of a network without a head out",
            operation=_describe_embeddings,
            bodies=(OpenAiEmbeddingsBody, OpenAiErrorBody),
        ),
        Route(
            f"{PREFIX}/models",
            handler=models,
            operation=_describe_models,
            bodies=(OpenAiModelsBody, OpenAiErrorBody),
        ),
    ),
)
