"""The routes of the Open Inference Protocol, as OpenAPI paths."""

from __future__ import annotations

from pinnace.serving.errors import OPEN_PROTOCOL
from pinnace.serving.http.openapi.responses import ANYWHERE, FOR_AN_IMAGE, RESPONSES, success
from pinnace.serving.http.openapi.schemas import TEXT, Json, object_of, ref
from pinnace.serving.http.request_body import JSON, RAW

TENSORS = "Open Inference Protocol"

_TEXTS: Json = {"type": "array", "items": TEXT}
_PARAMETERS: Json = {"type": "object"}
_DATA: Json = {"type": "array", "items": {}, "description": "Row-major, nested or not; base64 for images."}
_SHAPE: Json = {"type": "array", "items": {"type": "integer"}}
_LENGTH: Json = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 0},
    "description": "The length of the JSON, where binary tensors follow it.",
}
_TIMING: Json = {"schema": TEXT, "description": "The times of the image that took longest."}


def _object(properties: Json, *optional: str) -> Json:
    return object_of(properties, [name for name in properties if name not in optional])


def _tensors(*optional: str, **more: Json) -> Json:
    item = _object({"name": TEXT, "datatype": TEXT, "shape": _SHAPE, **more}, *optional)
    return {"type": "array", "minItems": 1, "items": item}


_WITH_DATA = _tensors("parameters", "data", parameters=_PARAMETERS, data=_DATA)
_OUTPUTS: Json = {
    "type": "array",
    "items": _object({"name": TEXT, "parameters": _PARAMETERS}, "parameters"),
}

TENSOR_SCHEMAS: Json = {
    "TensorServer": _object({"name": TEXT, "version": TEXT, "extensions": _TEXTS}),
    "TensorModel": _object(
        {"name": TEXT, "versions": _TEXTS, "platform": TEXT, "inputs": _tensors(), "outputs": _tensors()}
    ),
    "InferRequest": _object(
        {"id": TEXT, "parameters": _PARAMETERS, "inputs": _WITH_DATA, "outputs": _OUTPUTS},
        *("id", "parameters", "outputs"),
    ),
    "InferResponse": _object(
        {"model_name": TEXT, "model_version": TEXT, "id": TEXT, "outputs": _WITH_DATA}, "id"
    ),
    "TensorError": _object({"error": TEXT, "code": TEXT}),
}

# What is refused before it is known what was asked for has the form of all other routes.
_ERROR: Json = {JSON: {"schema": {"oneOf": [ref("TensorError"), ref("Error")]}}}


def tensor_paths(names: tuple[str, ...], versions: tuple[str, ...]) -> Json:
    """Every route of the protocol.

    Args:
        names: of the models; none where no server runs.
        versions: of the models.
    """
    model = f"{OPEN_PROTOCOL}/models/{{name}}"
    name, version = _in_path("name", names), _in_path("version", versions)
    live, ready = _object({"live": {"type": "boolean"}}), _object({"ready": {"type": "boolean"}})
    is_ready = _get("tensor_ready", "Whether every worker has warmed up", ready, open_to_all=True)
    is_ready["get"]["responses"]["503"] = {
        "description": "Not every worker has, or there is no room.",
        "content": {JSON: {"schema": {"anyOf": [ready, ref("Error")]}}},
    }
    return {
        OPEN_PROTOCOL: _get("tensor_server", "What this server is", ref("TensorServer")),
        f"{OPEN_PROTOCOL}/health/live": _get(
            "tensor_live", "Whether the process is up", live, open_to_all=True
        ),
        f"{OPEN_PROTOCOL}/health/ready": is_ready,
        **_of_model(model, "", name),
        **_of_model(f"{model}/versions/{{version}}", "_version", name, version),
    }


def _in_path(name: str, values: tuple[str, ...]) -> Json:
    schema = {**TEXT, "enum": list(dict.fromkeys(values))} if values else TEXT
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _of_model(path: str, suffix: str, *parameters: Json) -> Json:
    ready = _object({"name": TEXT, "ready": {"type": "boolean"}})
    return {
        path: _get(f"tensor_model{suffix}", "A model's inputs and outputs", ref("TensorModel"), *parameters),
        f"{path}/ready": _get(f"tensor_model_ready{suffix}", "Whether a model is served", ready, *parameters),
        f"{path}/infer": {"post": _infer(f"infer{suffix}", *parameters)},
    }


def _get(operation: str, summary: str, schema: Json, *parameters: Json, open_to_all: bool = False) -> Json:
    described: Json = {
        "summary": summary,
        "operationId": operation,
        "tags": [TENSORS],
        "parameters": list(parameters),
        "responses": {
            **success("As asked.", schema),
            **_failures(*ANYWHERE, *(["404"] if parameters else [])),
        },
    }
    if open_to_all:
        described["security"] = []
    return {"get": described}


def _infer(operation: str, *parameters: Json) -> Json:
    raw: Json = {RAW: {"schema": {**TEXT, "format": "tensors", "description": "JSON, then binary tensors."}}}
    good = success("The model's outputs.", ref("InferResponse"))
    good["200"]["content"].update(raw)
    good["200"]["headers"] = {"Server-Timing": _TIMING}
    return {
        "summary": "Logits of tensors, or of encoded images",
        "operationId": operation,
        "tags": [TENSORS],
        "parameters": [*parameters, _LENGTH],
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": ref("InferRequest")}, **raw},
        },
        "responses": {**good, **_failures(*FOR_AN_IMAGE, "404")},
    }


def _failures(*statuses: str) -> Json:
    return {status: {**RESPONSES[f"Status{status}"], "content": _ERROR} for status in sorted(statuses)}
