"""What the descriptions of several routes have in common."""

from __future__ import annotations

from pinnace.serving.http.bodies import ErrorBody
from pinnace.serving.http.openapi.examples import IMAGE, example
from pinnace.serving.http.openapi.responses import ANYWHERE, failures
from pinnace.serving.http.openapi.schemas import object_of, ref
from pinnace.serving.http.openapi.tags import OPERATIONS
from pinnace.serving.http.request_body import FORM, IMAGE_FIELD, JSON, RAW
from pinnace.serving.routes import Json, ServerFacts


def text(operation: str, summary: str, media_type: str) -> Json:
    """A route that answers with text."""
    return {
        "summary": summary,
        "operationId": operation,
        "tags": [OPERATIONS],
        "responses": {
            "200": {"description": summary, "content": {media_type: {"schema": {"type": "string"}}}},
            **failures(*ANYWHERE),
        },
    }


def probe(operation: str, summary: str, *, unavailable: str | None = None) -> Json:
    """A probe, whose answer is its status; `unavailable` says when that is 503."""
    failed = failures_without_key()
    if unavailable is not None:
        failed["503"] = {"description": unavailable, "content": {JSON: {"schema": ref(ErrorBody)}}}
    return {
        "summary": summary,
        "operationId": operation,
        "tags": [OPERATIONS],
        "security": [],
        "responses": {"200": {"description": summary}, **failed},
    }


def failures_without_key() -> Json:
    """What any request may be answered where no API key is needed."""
    return failures(*(status for status in ANYWHERE if status != "401"))


def model_name(facts: ServerFacts, names: tuple[str, ...] | None = None) -> Json:
    """The parameter of a path that names a model: one of `names`, or of all."""
    schema: Json = {"type": "string"}
    if facts.names:
        schema["enum"] = list(facts.names if names is None else names)
        schema["default"] = schema["enum"][0]
    listed = "One of those that `GET /models` lists; a slash is written `%2F`."
    return {"name": "name", "in": "path", "required": True, "description": listed, "schema": schema}


def image_body() -> Json:
    """The body of a request for one image that asks nothing besides."""
    image = {"type": "string", "format": "binary"}
    text = {"type": "string", "format": "byte", "minLength": 1, "description": "The image in base64."}
    data = {**object_of({IMAGE_FIELD: text}, [IMAGE_FIELD]), "additionalProperties": False}
    content = {
        JSON: {"schema": data, **example(IMAGE)},
        FORM: {"schema": {**object_of({IMAGE_FIELD: image}, [IMAGE_FIELD]), "additionalProperties": False}},
        "image/*": {"schema": image},
        RAW: {"schema": image},
    }
    return {"required": True, "content": content}
