"""The bodies of answers, as OpenAPI schemas."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def object_of(properties: Json, required: list[str] | None = None) -> Json:
    """The schema of an object; all its properties are there unless it says which."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
    }


def ref(name: str) -> Json:
    """A reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


TEXT: Json = {"type": "string"}
_MILLISECONDS: Json = {"type": "number", "minimum": 0, "description": "milliseconds"}
_VERSION: Json = {
    "type": "string",
    "description": "The first twelve digits of the SHA-256 of the bundle's manifest.json.",
    "example": "5b0ab5b9d35c",
}
_COUNT: Json = {"type": "integer", "minimum": 0}
_NAME: Json = {"type": "string", "example": "resnet50"}
_VARIANT: Json = {"type": "string", "example": "onnx-fp32"}
_RUNTIME: Json = {"type": "string", "example": "onnxruntime"}
_PARITY: Json = {
    "type": "object",
    "nullable": True,
    "description": "How far the variant lies from the original; as in the manifest.",
}

SCHEMAS: Json = {
    "Prediction": object_of(
        {
            "label": {"type": "string", "example": "Egyptian cat"},
            "index": {**_COUNT, "example": 285},
            "probability": {"type": "number", "minimum": 0, "maximum": 1, "example": 0.381},
        }
    ),
    "Answer": object_of(
        {
            "model": _NAME,
            "version": _VERSION,
            "variant": _VARIANT,
            "runtime": _RUNTIME,
            "predictions": {"type": "array", "items": ref("Prediction")},
            "timing_ms": object_of(
                dict.fromkeys(("decode", "preprocess", "queue", "infer", "total"), _MILLISECONDS)
            ),
        }
    ),
    "Answers": object_of(
        {
            "results": {
                "type": "array",
                "items": {"oneOf": [ref("Answer"), ref("Error")]},
                "description": "One for each image, in order.",
            }
        }
    ),
    "Model": object_of(
        {
            "name": _NAME,
            "version": _VERSION,
            "created": {"type": "string", "description": "When the bundle was exported, ISO 8601."},
            "variant": _VARIANT,
            "runtime": _RUNTIME,
            "classes": _COUNT,
            "labels": {"type": "array", "items": TEXT},
            "preprocess": {"type": "object", "description": "As in the bundle's manifest."},
            "input": object_of(
                {
                    "name": TEXT,
                    "dtype": TEXT,
                    "shape": {
                        "type": "array",
                        "items": {"oneOf": [{"type": "integer"}, {"type": "string"}]},
                        "description": "A dynamic dimension is a string.",
                    },
                }
            ),
            "parity": _PARITY,
            "variants": {
                "type": "array",
                "description": "Everything that the bundle holds; `variant` is the one that answers.",
                "items": object_of(
                    {
                        "name": _VARIANT,
                        "format": TEXT,
                        "precision": TEXT,
                        "bytes": _COUNT,
                        "parity": _PARITY,
                    }
                ),
            },
        }
    ),
    "Models": object_of({"models": {"type": "array", "items": ref("Model")}}),
    "Index": object_of(
        {
            "model": _NAME,
            "variant": _VARIANT,
            "runtime": _RUNTIME,
            "classes": _COUNT,
            "models": {"type": "array", "items": TEXT},
            "routes": {"type": "object", "additionalProperties": TEXT},
        }
    ),
    "Reloaded": object_of(
        {"model": _NAME, "version": _VERSION, "previous": _VERSION, "workers": {"type": "integer"}}
    ),
    "Error": object_of(
        {
            "error": object_of(
                {
                    "code": {"type": "string", "example": "undecodable_image"},
                    "message": {"type": "string", "description": "One sentence."},
                    "hint": {"type": "string", "nullable": True, "description": "What to do."},
                }
            ),
        }
    ),
}
