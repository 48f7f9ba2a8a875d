"""`/v2`: the Open Inference Protocol, KServe's version 2; its handlers are in `serving/http/v2/`."""

from __future__ import annotations

from pinnace.serving.http.bodies import ErrorBody
from pinnace.serving.http.v2 import handlers
from pinnace.serving.http.v2.bodies import (
    InferResponseBody,
    LiveBody,
    ModelReadyBody,
    ReadyBody,
    TensorErrorBody,
    TensorModelBody,
    TensorServerBody,
)
from pinnace.serving.http.v2.openapi import describe_get, describe_infer, describe_ready
from pinnace.serving.http.v2.tensors import InferRequest
from pinnace.serving.routes import Json, Route, RouteFamily

PREFIX = "/v2"


def error_form(body: dict[str, dict[str, str | None]]) -> Json:
    """The body of an error as clients of the protocol read it: one text."""
    error = body["error"]
    sentence = "; ".join(part for part in (error["message"], error["hint"]) if part)
    return {"error": sentence, "code": error["code"]}


def _of_model(path: str, suffix: str, *parameters: str) -> tuple[Route, Route, Route]:
    """The routes of a model below a path; versions are not told apart in metrics."""
    model = f"{PREFIX}/models/{{name}}"
    return (
        Route(
            f"{path}/infer",
            "POST",
            handlers.infer,
            counted_as=f"{model}/infer",
            operation=describe_infer(f"infer{suffix}", *parameters),
            bodies=(InferRequest, InferResponseBody, TensorErrorBody, ErrorBody),
        ),
        Route(
            f"{path}/ready",
            handler=handlers.model_ready,
            counted_as=f"{model}/ready",
            operation=describe_get(
                f"tensor_model_ready{suffix}", "Whether a model is served", ModelReadyBody, *parameters
            ),
            bodies=(ModelReadyBody,),
        ),
        Route(
            path,
            handler=handlers.model,
            counted_as=model,
            operation=describe_get(
                f"tensor_model{suffix}", "A model's inputs and outputs", TensorModelBody, *parameters
            ),
            bodies=(TensorModelBody,),
        ),
    )


def _model_routes() -> tuple[Route, ...]:
    # A name may have slashes: what is longest comes first.
    model = f"{PREFIX}/models/{{name:path}}"
    versioned = _of_model(f"{model}/versions/{{version}}", "_version", "name", "version")
    by_name = _of_model(model, "", "name")
    return tuple(route for pair in zip(versioned, by_name, strict=True) for route in pair)


FAMILY = RouteFamily(
    rank=30,
    prefix=PREFIX,
    prefix_listed="the Open Inference Protocol",
    error_form=error_form,
    routes=(
        Route(
            PREFIX,
            handler=handlers.server,
            operation=describe_get("tensor_server", "What this server is", TensorServerBody),
            bodies=(TensorServerBody,),
        ),
        Route(
            f"{PREFIX}/health/live",
            handler=handlers.live,
            open=True,
            logged=False,
            operation=describe_get("tensor_live", "Whether the process is up", LiveBody, open_to_all=True),
            bodies=(LiveBody,),
        ),
        Route(
            f"{PREFIX}/health/ready",
            handler=handlers.ready,
            open=True,
            logged=False,
            operation=describe_ready,
            bodies=(ReadyBody,),
        ),
        *_model_routes(),
    ),
)
