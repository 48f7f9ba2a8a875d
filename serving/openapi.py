"""The OpenAPI description of our routes; BentoML adds its own and serves the whole at `/docs.json`."""

from __future__ import annotations

from typing import Any

from pinnace.models.predictions import DEFAULT_TOP_K
from pinnace.serving.body import BATCH_FIELD, FORM, IMAGE_FIELD, JSON, RAW, TOP_K

TAG = "Classification"

Json = dict[str, Any]

_STATUSES = {
    "400": "The bytes are no image that can be decoded, or the form or JSON is malformed.",
    "401": "An API key is set, and the request does not bring it.",
    "408": "The request did not arrive in time.",
    "413": "The body has too many bytes, or the image too many pixels.",
    "415": "The content type or the image format is not accepted.",
    "422": "A parameter or field is wrong.",
    "500": "The server failed; its log says why.",
    "503": "There is no room for another request now; Retry-After says when to try again.",
    "504": "The answer was not ready in time.",
}


def _object(properties: Json, required: list[str] | None = None) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_MILLISECONDS: Json = {"type": "number", "description": "milliseconds"}
_TEXT: Json = {"type": "string"}
_VERSION: Json = {
    "type": "string",
    "description": "The first twelve digits of the SHA-256 of the bundle's manifest.json.",
}
_TOP_K: Json = {
    "type": "integer",
    "minimum": 1,
    "default": DEFAULT_TOP_K,
    "description": "How many classes to answer with, at most the number of classes.",
}
_IMAGE_FILE: Json = {"type": "string", "format": "binary"}

SCHEMAS: Json = {
    "Prediction": _object({"label": _TEXT, "index": {"type": "integer"}, "probability": {"type": "number"}}),
    "Answer": _object(
        {
            "model": _TEXT,
            "version": _VERSION,
            "variant": _TEXT,
            "runtime": _TEXT,
            "predictions": {"type": "array", "items": _ref("Prediction")},
            "timing_ms": _object(
                dict.fromkeys(("decode", "preprocess", "queue", "infer", "total"), _MILLISECONDS)
            ),
        }
    ),
    "Answers": _object(
        {
            "results": {
                "type": "array",
                "items": {"oneOf": [_ref("Answer"), _ref("Error")]},
                "description": "One for each image, in order.",
            }
        }
    ),
    "Model": _object(
        {
            "name": _TEXT,
            "version": _VERSION,
            "created": {"type": "string", "description": "When the bundle was exported, ISO 8601."},
            "variant": _TEXT,
            "runtime": _TEXT,
            "classes": {"type": "integer"},
            "labels": {"type": "array", "items": _TEXT},
            "preprocess": {"type": "object", "description": "As in the bundle's manifest."},
            "input": _object(
                {
                    "name": _TEXT,
                    "dtype": _TEXT,
                    "shape": {
                        "type": "array",
                        "items": {"oneOf": [{"type": "integer"}, {"type": "string"}]},
                        "description": "A dynamic dimension is a string.",
                    },
                }
            ),
            "parity": {
                "type": "object",
                "nullable": True,
                "description": "How far the variant lies from the original; as in the manifest.",
            },
            "variants": {
                "type": "array",
                "description": "Everything that the bundle holds; `variant` is the one that answers.",
                "items": _object(
                    {
                        "name": _TEXT,
                        "format": _TEXT,
                        "precision": _TEXT,
                        "bytes": {"type": "integer"},
                        "parity": {"type": "object", "nullable": True},
                    }
                ),
            },
        }
    ),
    "Reloaded": _object(
        {"model": _TEXT, "version": _VERSION, "previous": _VERSION, "workers": {"type": "integer"}}
    ),
    "Error": _object(
        {
            "error": _object({"code": _TEXT, "message": _TEXT, "hint": {"type": "string", "nullable": True}}),
        }
    ),
}

_ERRORS: Json = {
    status: {"description": description, "content": {JSON: {"schema": _ref("Error")}}}
    for status, description in _STATUSES.items()
}

_NAME: Json = {"name": "name", "in": "path", "required": True, "schema": _TEXT}

_UNKNOWN_MODEL: Json = {
    "404": {
        "description": "No model of that name is served.",
        "content": {JSON: {"schema": _ref("Error")}},
    }
}


def _classify(operation: str, summary: str, parameters: list[Json], responses: Json) -> Json:
    return {
        "summary": summary,
        "operationId": operation,
        "tags": [TAG],
        "parameters": [
            *parameters,
            {"name": TOP_K, "in": "query", "required": False, "schema": _TOP_K},
        ],
        "requestBody": {
            "required": True,
            "content": {
                FORM: {"schema": _object({IMAGE_FIELD: _IMAGE_FILE, TOP_K: _TOP_K}, required=[IMAGE_FIELD])},
                "image/*": {"schema": _IMAGE_FILE},
                RAW: {"schema": _IMAGE_FILE},
                JSON: {
                    "schema": _object(
                        {IMAGE_FIELD: {"type": "string", "format": "byte"}, TOP_K: _TOP_K},
                        required=[IMAGE_FIELD],
                    )
                },
            },
        },
        "responses": {
            "200": {
                "description": "The most probable classes, most probable first.",
                "headers": {
                    "Server-Timing": {"description": "`timing_ms` once more, for browsers.", "schema": _TEXT}
                },
                "content": {JSON: {"schema": _ref("Answer")}},
            },
            **_ERRORS,
            **responses,
        },
    }


def _classify_batch(operation: str, summary: str, parameters: list[Json], responses: Json) -> Json:
    return {
        "summary": f"{summary}: an answer or an error for each, in order",
        "operationId": operation,
        "tags": [TAG],
        "parameters": [*parameters, {"name": TOP_K, "in": "query", "required": False, "schema": _TOP_K}],
        "requestBody": {
            "required": True,
            "content": {
                FORM: {
                    "schema": _object(
                        {BATCH_FIELD: {"type": "array", "items": _IMAGE_FILE}, TOP_K: _TOP_K},
                        required=[BATCH_FIELD],
                    )
                }
            },
        },
        "responses": {
            "200": {
                "description": "The images were looked at, each for itself.",
                "content": {JSON: {"schema": _ref("Answers")}},
            },
            **_ERRORS,
            **responses,
        },
    }


PATHS: Json = {
    "/classify": {"post": _classify("classify", "Classify one image", [], {})},
    "/classify_batch": {"post": _classify_batch("classify_batch", "Classify several images", [], {})},
    "/models": {
        "get": {
            "summary": "The models that are served; the first is the one that /classify asks",
            "operationId": "models",
            "tags": [TAG],
            "responses": {
                "200": {
                    "description": "The models.",
                    "content": {
                        JSON: {"schema": _object({"models": {"type": "array", "items": _ref("Model")}})}
                    },
                }
            },
        }
    },
    "/models/{name}/classify": {
        "post": _classify(
            "classify_with_model", "Classify one image with a model chosen by name", [_NAME], _UNKNOWN_MODEL
        )
    },
    "/models/{name}/classify_batch": {
        "post": _classify_batch(
            "classify_batch_with_model",
            "Classify several images with a model chosen by name",
            [_NAME],
            _UNKNOWN_MODEL,
        )
    },
    "/models/{name}/reload": {
        "post": {
            "summary": "Answer with the bundle that stands on disk now, in every worker, if it is good",
            "operationId": "reload",
            "tags": [TAG],
            "parameters": [_NAME],
            "responses": {
                "200": {
                    "description": "Every worker answers with what stands on disk.",
                    "content": {JSON: {"schema": _ref("Reloaded")}},
                },
                **{status: _ERRORS[status] for status in ("401", "500")},
                **_UNKNOWN_MODEL,
                "409": {
                    "description": "The bundle on disk is not good; the one from before answers on.",
                    "content": {JSON: {"schema": _ref("Error")}},
                },
            },
        }
    },
    "/": {
        "get": {
            "summary": "The page, for a browser; what is served, and where, for others",
            "operationId": "index",
            "tags": [TAG],
            "responses": {
                "200": {
                    "description": "HTML where the client names it in Accept; else the model and the routes.",
                    "content": {
                        JSON: {"schema": {"type": "object"}},
                        "text/html": {"schema": {"type": "string"}},
                    },
                }
            },
        }
    },
}
