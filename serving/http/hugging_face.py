"""Hugging Face's words for image classification: what its clients send with `format=hf`, and what they read.

See https://huggingface.co/docs/inference-providers/tasks/image-classification.
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast, get_args

from starlette.requests import Request

from pinnace.models.answer import Answer
from pinnace.models.bundle.outputs import Function
from pinnace.models.errors import UsageError
from pinnace.serving.http import request_body
from pinnace.serving.http.bodies import ScoreBody
from pinnace.serving.http.off_loop import off_loop
from pinnace.serving.http.request_body import JSON, BodyLimits, content_type, json_top_k, parse_json_object
from pinnace.serving.inference.inputs import Upload

FORMAT = "format"
HF = "hf"
FUNCTION = "function_to_apply"
FUNCTIONS: tuple[str, ...] = get_args(Function)

_HINT = 'send {"inputs": "<base64>", "parameters": {"top_k": 5}}'


def is_asked(request: Request) -> bool:
    """Whether the answer is to have Hugging Face's form.

    Raises:
        UsageError: another form is asked for, or a function without the form.
    """
    if not request.scope["query_string"]:
        return False
    wanted = request.query_params.get(FORMAT)
    if wanted not in (None, HF):
        raise UsageError(
            f"{FORMAT} must be {HF}, not {wanted[:40]}", hint="leave it out for the usual answer"
        )
    if wanted is None and FUNCTION in request.query_params:
        raise UsageError(f"{FUNCTION} goes with {FORMAT}={HF}")
    return wanted is not None


async def read_upload(request: Request, limits: BodyLimits) -> Upload:
    """Read the body of a request: as every other, or JSON with `inputs` and `parameters`.

    Raises:
        UsageError: a parameter is unknown, or has a wrong value.
        Others: as `pinnace.serving.http.request_body.read_upload`.
    """
    function = _function(request.query_params.get(FUNCTION))
    if content_type(request) != JSON:
        upload = await request_body.read_upload(request, limits)
        return dataclasses.replace(upload, function=function)
    body = await request_body.read_body(request, limits)
    data = await off_loop(len(body), parse_json_object, body, _HINT)
    if "inputs" not in data:
        upload = await off_loop(len(body), request_body.parse_json_upload, request, body, limits)
        return dataclasses.replace(upload, function=function)
    image = data["inputs"]
    if not isinstance(image, str):
        raise UsageError("the JSON body has no text inputs", hint=_HINT)
    parameters: dict[str, Any] = data.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise UsageError("parameters must be an object", hint=_HINT)
    for name in parameters:
        if name not in ("top_k", FUNCTION):
            raise UsageError(
                f"there is no parameter {name[:40]!r}", hint=f"the parameters are top_k and {FUNCTION}"
            )
    top_k = json_top_k(parameters, limits)
    given = parameters.get(FUNCTION)
    return Upload(image, top_k, function=function if given is None else _function(given))


def scores_body(answer: Answer) -> list[ScoreBody]:
    """An answer in Hugging Face's form, the highest score first."""
    return [{"label": one.label, "score": one.probability} for one in answer.predictions]


def _function(value: object) -> Function | None:
    if value is None:
        return None
    if value not in FUNCTIONS:
        raise UsageError(
            f"{FUNCTION} must be one of {', '.join(FUNCTIONS)}, not {str(value)[:40]}",
            hint="leave it out for what the model says",
        )
    return cast(Function, value)
