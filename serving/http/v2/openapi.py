"""The routes of the Open Inference Protocol, as OpenAPI operations."""

from __future__ import annotations

from collections.abc import Callable

from pinnace.serving.http.bodies import ErrorBody
from pinnace.serving.http.openapi.examples import TENSORS, example
from pinnace.serving.http.openapi.responses import ANYWHERE, FOR_AN_IMAGE, RESPONSES, success
from pinnace.serving.http.openapi.schemas import ref
from pinnace.serving.http.openapi.tags import OPEN_INFERENCE
from pinnace.serving.http.request_body import JSON, RAW
from pinnace.serving.http.v2.bodies import InferResponseBody, ReadyBody, TensorErrorBody
from pinnace.serving.http.v2.tensors import InferRequest
from pinnace.serving.routes import Json, ServerFacts

Describe = Callable[[ServerFacts], Json]

_LENGTH: Json = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 0},
    "description": "The length of the JSON, where binary tensors follow it.",
}
_TIMING: Json = {"schema": {"type": "string"}, "description": "The times of the image that took longest."}

# What is refused before it is known what was asked for has the form of all other routes.
_ERROR: Json = {JSON: {"schema": {"oneOf": [ref(TensorErrorBody), ref(ErrorBody)]}}}


def describe_get(
    operation: str, summary: str, body: type, *parameters: str, open_to_all: bool = False
) -> Describe:
    """What describes a GET.

    Args:
        operation: its id.
        summary: a line.
        body: the type of the answer.
        parameters: those of the path.
        open_to_all: whether no API key is needed.
    """

    def describe(facts: ServerFacts) -> Json:
        described: Json = {
            "summary": summary,
            "operationId": operation,
            "tags": [OPEN_INFERENCE],
            "parameters": _in_path(parameters, facts),
            "responses": {
                **success("As asked.", ref(body)),
                **_failures(*ANYWHERE, *(["404"] if parameters else [])),
            },
        }
        if open_to_all:
            described["security"] = []
        return described

    return describe


def describe_ready(facts: ServerFacts) -> Json:
    """`GET /v2/health/ready`, which says that it is not ready with a status as well."""
    described = describe_get(
        "tensor_ready", "Whether every worker has warmed up", ReadyBody, open_to_all=True
    )(facts)
    described["responses"]["503"] = {
        "description": "Not every worker has, or there is no room.",
        "content": {JSON: {"schema": {"anyOf": [ref(ReadyBody), ref(ErrorBody)]}}},
    }
    return described


def describe_infer(operation: str, *parameters: str) -> Describe:
    """What describes `POST .../infer`, whose path has these parameters."""

    def describe(facts: ServerFacts) -> Json:
        binary = {"type": "string", "format": "tensors", "description": "JSON, then binary tensors."}
        raw: Json = {RAW: {"schema": binary}}
        request = {"schema": ref(InferRequest), **example(TENSORS)}
        good = success("The model's outputs.", ref(InferResponseBody))
        good["200"]["content"].update(raw)
        good["200"]["headers"] = {"Server-Timing": _TIMING}
        return {
            "summary": "Logits of tensors, or of encoded images",
            "operationId": operation,
            "tags": [OPEN_INFERENCE],
            "parameters": [*_in_path(parameters, facts), _LENGTH],
            "requestBody": {"required": True, "content": {JSON: request, **raw}},
            "responses": {**good, **_failures(*FOR_AN_IMAGE, "404")},
        }

    return describe


def _in_path(parameters: tuple[str, ...], facts: ServerFacts) -> list[Json]:
    known = {"name": facts.names, "version": facts.versions}
    found = []
    for name in parameters:
        schema: Json = {"type": "string"}
        if known[name]:
            schema |= {"enum": list(dict.fromkeys(known[name])), "default": known[name][0]}
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    return found


def _failures(*statuses: str) -> Json:
    return {status: {**RESPONSES[f"Status{status}"], "content": _ERROR} for status in sorted(statuses)}
