"""The routes, as OpenAPI paths."""

from __future__ import annotations

from dataclasses import dataclass

from pinnace.models.predictions import DEFAULT_TOP_K
from pinnace.serving.http.openapi.responses import ANYWHERE, FOR_AN_IMAGE, failures, success
from pinnace.serving.http.openapi.schemas import Json, object_of, ref
from pinnace.serving.http.request_body import BATCH_FIELD, FORM, IMAGE_FIELD, JSON, RAW, TOP_K

CLASSIFY = "Classification"
MODELS = "Models"
OPERATIONS = "Operations"

_WAYS = (
    "The image is the raw body, the field `image` of a form, or base64 in JSON. Its type is decided by its "
    "bytes. A `top_k` in the body counts more than one in the query."
)

_TIMING: Json = {"schema": {"type": "string"}, "description": "`timing_ms` once more, for browsers."}


@dataclass(frozen=True)
class Facts:
    """What the description says of the models that are served.

    Attributes:
        names: of the models, the default one first; none where no server runs.
        default_top_k: the most classes that the default model answers with.
        any_top_k: the most that any model answers with.
        batch: the most images in a batch.
        locked: whether an API key is set.
    """

    names: tuple[str, ...]
    default_top_k: int | None
    any_top_k: int | None
    batch: int
    locked: bool


def paths(facts: Facts) -> Json:
    """Every route but those of other protocols."""
    name = _name(facts.names)
    default, any_model = _top_k(facts.default_top_k), _top_k(facts.any_top_k)
    return {
        "/classify": {"post": _classify("classify", "Classify one image", default)},
        "/classify_batch": {
            "post": _classify_batch("classify_batch", "Classify several images", default, facts.batch)
        },
        "/models/{name}/classify": {
            "post": _classify("classify_with_model", "Classify one image by a model's name", any_model, name)
        },
        "/models/{name}/classify_batch": {
            "post": _classify_batch(
                "classify_batch_with_model",
                "Classify several images by a model's name",
                any_model,
                facts.batch,
                name,
            )
        },
        "/models": {"get": _models()},
        "/models/{name}/reload": {"post": _reload(name)},
        "/": {"get": _index()},
        "/docs": {"get": _text("docs", "This description, to be read", "text/html")},
        "/docs.json": {"get": _docs()},
        "/livez": {"get": _probe("livez", "The process is up")},
        "/healthz": {"get": {**_probe("healthz", "The same as /livez, by its old name"), "deprecated": True}},
        "/readyz": {"get": _probe("readyz", "Every worker has loaded, checked and warmed up the models")},
        "/metrics": {"get": {**_text("metrics", "Prometheus metrics", "text/plain"), "tags": [OPERATIONS]}},
    }


def _top_k(most: int | None) -> Json:
    schema: Json = {
        "type": "integer",
        "minimum": 1,
        "default": DEFAULT_TOP_K if most is None else min(DEFAULT_TOP_K, most),
        "description": "How many classes to answer with, at most the number of classes.",
    }
    return schema if most is None else {**schema, "maximum": most}


def _name(names: tuple[str, ...]) -> Json:
    schema: Json = {"type": "string"}
    if names:
        schema["enum"] = list(names)
    told = "One of those that `GET /models` lists; a slash is written `%2F`."
    return {"name": "name", "in": "path", "required": True, "description": told, "schema": schema}


def _classify(operation: str, summary: str, top_k: Json, name: Json | None = None) -> Json:
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
    answer = success("The most probable classes, most probable first.", ref("Answer"))
    answer["200"]["headers"] = {"Server-Timing": _TIMING}
    return _asked(operation, summary, _WAYS, top_k, name, content, answer)


def _classify_batch(operation: str, summary: str, top_k: Json, most: int, name: Json | None = None) -> Json:
    images = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": 1,
        "maxItems": most,
        "description": "The field is repeated for each image.",
    }
    content = {FORM: {"schema": _closed({BATCH_FIELD: images, TOP_K: top_k}, BATCH_FIELD)}}
    answer = success("The images were looked at, each for itself.", ref("Answers"))
    told = "An answer or an error for each image, in order: one bad image does not spoil the rest."
    return _asked(operation, summary, told, top_k, name, content, answer)


def _asked(
    operation: str, summary: str, told: str, top_k: Json, name: Json | None, content: Json, answer: Json
) -> Json:
    query = {"name": TOP_K, "in": "query", "required": False, "schema": top_k}
    unknown = () if name is None else ("404",)
    return {
        "summary": summary,
        "description": told,
        "operationId": operation,
        "tags": [CLASSIFY],
        "parameters": [query] if name is None else [name, query],
        "requestBody": {"required": True, "content": content},
        "responses": {**answer, **failures(*FOR_AN_IMAGE, *unknown)},
    }


def _closed(properties: Json, required: str) -> Json:
    return {**object_of(properties, [required]), "additionalProperties": False}


def _models() -> Json:
    return {
        "summary": "The models that are served; the first is the one that /classify asks",
        "operationId": "models",
        "tags": [MODELS],
        "responses": {**success("The models.", ref("Models")), **failures(*ANYWHERE)},
    }


def _reload(name: Json) -> Json:
    return {
        "summary": "Answer with the bundle that is on disk now, in every worker, if it is good",
        "operationId": "reload",
        "tags": [MODELS],
        "parameters": [name],
        "responses": {
            **success("Every worker answers with what is on disk.", ref("Reloaded")),
            **failures(*ANYWHERE, "404", "409"),
        },
    }


def _index() -> Json:
    return {
        "summary": "The page, for a browser; what is served, and where, for others",
        "operationId": "index",
        "tags": [MODELS],
        "security": [],
        "responses": {
            "200": {
                "description": "HTML where the client names it in Accept; else the models and the routes.",
                "content": {JSON: {"schema": ref("Index")}, "text/html": {"schema": {"type": "string"}}},
            },
            **_open_failures(),
        },
    }


def _docs() -> Json:
    return {
        "summary": "This description",
        "operationId": "docs_json",
        "tags": [OPERATIONS],
        "responses": {**success("OpenAPI 3.0.", {"type": "object"}), **failures(*ANYWHERE)},
    }


def _text(operation: str, summary: str, media_type: str) -> Json:
    return {
        "summary": summary,
        "operationId": operation,
        "tags": [OPERATIONS],
        "responses": {
            "200": {"description": summary, "content": {media_type: {"schema": {"type": "string"}}}},
            **failures(*ANYWHERE),
        },
    }


def _probe(operation: str, summary: str) -> Json:
    failed = _open_failures()
    if operation == "readyz":
        failed["503"] = {
            "description": "`service_unavailable`: not every worker is ready, or this one is stopping.",
            "content": {JSON: {"schema": ref("Error")}},
        }
    return {
        "summary": summary,
        "operationId": operation,
        "tags": [OPERATIONS],
        "security": [],
        "responses": {"200": {"description": summary}, **failed},
    }


def _open_failures() -> Json:
    return failures(*(status for status in ANYWHERE if status != "401"))
