"""TorchServe's routes, for clients that were written for it: there with the setting `torchserve`.

What they answer is what TorchServe 0.12 answers; see `benchmarks/beside_torchserve.py`, and
https://pytorch.org/serve/inference_api.html.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from pinnace.models.errors import PinnaceError, UsageError
from pinnace.models.loaders.torchserve import archive_in
from pinnace.models.open_model import AnsweringModel
from pinnace.serving.errors import UnknownModel, UnknownVersion, error_data
from pinnace.serving.http.endpoint import receive_within, wait_for_answer
from pinnace.serving.http.off_loop import off_loop
from pinnace.serving.http.openapi.tags import CLASSIFICATION, MODELS, OPERATIONS
from pinnace.serving.http.request_body import (
    FORM,
    JSON,
    RAW,
    BodyLimits,
    content_type,
    parse_json_object,
    read_body,
    read_form,
)
from pinnace.serving.http.route_families.classify import record_answer
from pinnace.serving.http.state import server_state
from pinnace.serving.inference.inputs import Upload
from pinnace.serving.inference.layout import plan
from pinnace.serving.inference.registry import RegisteredModel
from pinnace.serving.observability.metrics import server_timing
from pinnace.serving.routes import Json, Route, RouteFamily, ServerFacts

PREFIX = "/predictions"
_FIELDS = ("data", "body")  # where there are both, TorchServe takes the first
_HINT = "send the image as the body, or as the field data or body"
_TYPES = {
    "unknown_model": "ModelNotFoundException",
    "unknown_version": "ModelVersionNotFoundException",
    "overloaded": "ServiceUnavailableException",
    "service_unavailable": "ServiceUnavailableException",
    "method_not_allowed": "MethodNotAllowedException",
    "not_found": "ResourceNotFoundException",
}


async def predict(request: Request) -> Response:
    """`POST` and `PUT /predictions/{name}[/{version}]`: an image in, five names with their scores out."""
    state = server_state(request)
    settings, admission = state.settings, state.models.admission
    model = _asked_for(request)
    admission.check()
    with admission.reserved_memory() as hold:
        limits = BodyLimits(settings.max_body_bytes, hold)
        upload = Upload(await receive_within(_read_image(request, limits), settings.upload_timeout))
        answer = await wait_for_answer(request, model.classify(upload), settings.timeout)
    record_answer(request, answer)
    # As there, two classes of one name have one line.
    scores = {one.label: one.probability for one in answer.predictions}
    return _indented(scores, headers=server_timing(answer.timing_ms))


async def ping(request: Request) -> Response:
    """`GET /ping`: whether every worker is ready."""
    ready = server_state(request).is_ready()
    return _indented({"status": "Healthy" if ready else "Unhealthy"}, 200 if ready else 500)


async def describe_model(request: Request) -> Response:
    """`GET /models/{name}[/{version}]`: a model as TorchServe's management API describes it."""
    state = server_state(request)
    try:
        model = _asked_for(request).engine.model
    except PinnaceError as error:  # the paths below /models have our own form of errors
        return _indented(error_form(error_data(error)), error.http_status)
    workers = plan(state.settings).workers
    status = "READY" if state.is_ready() else "UNLOADING"
    body = {
        **listed(model),
        "modelVersion": _version(model),
        "runtime": model.runtime.name,
        "minWorkers": workers,
        "maxWorkers": workers,
        "batchSize": 1 if state.settings.max_batch == "auto" else state.settings.max_batch,
        "responseTimeout": state.settings.timeout,
        "loadedAtStartup": True,
        "workers": [{"id": str(number), "status": status} for number in range(workers)],
    }
    return _indented([body])


async def describe_api(request: Request) -> Response:
    """`OPTIONS /`: these routes, as OpenAPI."""
    facts = ServerFacts((), (), None, None, server_state(request).settings.max_batch_images)
    paths: Json = {}
    for route in FAMILY.routes:
        if route.operation is not None:
            paths.setdefault(route.template, {})[route.method.lower()] = route.operation(facts)
    info = {
        "title": "TorchServe APIs",
        "description": "TorchServe's routes, answered by Pinnace",
        "version": "0.12.0",
    }
    return _indented({"openapi": "3.0.1", "info": info, "paths": paths})


def listed(model: AnsweringModel) -> dict[str, str]:
    """What TorchServe's list of models says of one."""
    source = model.bundle.manifest.source
    archive = archive_in(source)
    return {"modelName": model.bundle.name, "modelUrl": source if archive is None else archive[0]}


def error_form(body: dict[str, dict[str, str | None]]) -> Json:
    """The body of an error as TorchServe has it."""
    error = body["error"]
    code = error["code"] or PinnaceError.code
    status = _status_of(code)
    usual = "InternalServerException" if status >= 500 else "BadRequestException"
    message = "; ".join(part for part in (error["message"], error["hint"]) if part)
    return {"code": status, "type": _TYPES.get(code, usual), "message": message}


def _status_of(code: str) -> int:
    kinds: list[type[PinnaceError]] = [PinnaceError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    known = {kind.code: kind.http_status for kind in kinds}
    by_name = {status.name.lower(): int(status) for status in HTTPStatus}
    return known.get(code, by_name.get(code, 500))


def _asked_for(request: Request) -> RegisteredModel:
    """The model that the path names, in the version that it names.

    Raises:
        UnknownModel, UnknownVersion: in the words of TorchServe.
    """
    name, version = request.path_params["name"], request.path_params.get("version")
    try:
        model = server_state(request).models.model(name)
    except UnknownModel:
        raise UnknownModel(f"Model not found: {name[:80]}") from None
    answering = model.engine.model
    if version not in (None, answering.bundle.version, _version(answering)):
        raise UnknownVersion(f"Model version: {version[:80]} does not exist for model: {name}")
    return model


def _version(model: AnsweringModel) -> str:
    """The version that the archive had, where the bundle was made of one; else the bundle's."""
    archive = archive_in(model.bundle.manifest.source)
    return (archive and archive[1]) or model.bundle.version


async def _read_image(request: Request, limits: BodyLimits) -> bytes | str:
    """The image of a request: bytes, or base64.

    Raises:
        As `pinnace.serving.http.request_body.read_upload`.
    """
    kind = content_type(request)
    if kind == FORM:
        async with read_form(request, limits) as form:
            for field in _FIELDS:
                if values := form.getlist(field):
                    last = values[-1]
                    return await last.read() if isinstance(last, UploadFile) else last
            names = ", ".join(dict.fromkeys(form))[:80]
            raise UsageError("the form has neither a field data nor a field body", got=names, hint=_HINT)
    body = await read_body(request, limits)
    if not body:
        raise UsageError("the body is empty", hint=_HINT)
    if kind == JSON and body.lstrip()[:1] == b"{":
        data = await off_loop(len(body), parse_json_object, body, _HINT)
        image = next((data[field] for field in _FIELDS if field in data), None)
        if not isinstance(image, str):
            raise UsageError("the JSON body has no field data or body with an image in base64", hint=_HINT)
        return image
    return body.decode("ascii") if kind.startswith("text/") and body.isascii() else body


def _indented(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON as TorchServe writes it: readable."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    return Response(text, status, headers, JSON)


_ERROR_SCHEMA: Json = {
    "type": "object",
    "required": ["code", "type", "message"],
    "properties": {
        "code": {"type": "integer"},
        "type": {"type": "string"},
        "message": {"type": "string"},
    },
}
_STATUSES = ("400", "404", "405", "408", "413", "415", "422", "500", "503", "504")


def _described(
    operation: str, summary: str, tag: str, schema: Json, path: tuple[str, ...] = (), body: Json | None = None
) -> Json:
    content = {JSON: {"schema": _ERROR_SCHEMA}}
    failed = {status: {"description": "What went wrong.", "content": content} for status in _STATUSES}
    found: Json = {
        "summary": summary,
        "operationId": operation,
        "tags": [tag],
        "responses": {"200": {"description": summary, "content": {JSON: {"schema": schema}}}, **failed},
    }
    if path:
        text = {"type": "string"}
        found["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": text} for name in path
        ]
    return found if body is None else {**found, "requestBody": {"required": True, "content": body}}


def _prediction(method: str, path: tuple[str, ...]) -> Route:
    def operation(facts: ServerFacts) -> Json:
        image = {"type": "string", "format": "binary"}
        form = {"type": "object", "properties": dict.fromkeys(_FIELDS, image)}
        content = {"image/*": {"schema": image}, RAW: {"schema": image}, FORM: {"schema": form}}
        name = "_".join(("torchserve", method.lower(), *path))
        scores = {"type": "object", "additionalProperties": {"type": "number"}}
        return _described(name, "Classify one image", CLASSIFICATION, scores, path, content)

    full = PREFIX + "".join(f"/{{{name}}}" for name in path)
    line = "TorchServe's form: an image in, five names with their scores out; also PUT, and with a version"
    first = method == "POST" and len(path) == 1
    return Route(full, method, predict, listed=line if first else None, operation=operation)


def _description(path: tuple[str, ...]) -> Route:
    def operation(facts: ServerFacts) -> Json:
        name = "_".join(("torchserve_model", *path))
        schema = {"type": "array", "items": {"type": "object"}}
        return _described(name, "A model as TorchServe describes it", MODELS, schema, path)

    return Route(
        "/models" + "".join(f"/{{{name}}}" for name in path), handler=describe_model, operation=operation
    )


def _describe_ping(facts: ServerFacts) -> Json:
    status = {"type": "object", "properties": {"status": {"type": "string"}}}
    return {**_described("torchserve_ping", "Every worker is ready", OPERATIONS, status), "security": []}


def _describe_options(facts: ServerFacts) -> Json:
    found = _described("torchserve_api", "TorchServe's routes, as OpenAPI", OPERATIONS, {"type": "object"})
    return {**found, "security": []}


_NAME, _VERSIONED = ("name",), ("name", "version")

FAMILY = RouteFamily(
    rank=35,
    prefix=PREFIX,
    error_form=error_form,
    only_with="torchserve",
    routes=(
        Route("/", "OPTIONS", describe_api, open=True, operation=_describe_options),
        Route("/ping", handler=ping, open=True, logged=False, operation=_describe_ping),
        *(_prediction(method, path) for path in (_NAME, _VERSIONED) for method in ("POST", "PUT")),
        *(_description(path) for path in (_NAME, _VERSIONED)),
    ),
)
