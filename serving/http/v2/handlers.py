"""What answers the routes of the Open Inference Protocol (KServe's version 2), below `/v2`."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pinnace.models.bundle.outputs import width
from pinnace.models.bundle.signature import TensorSpec
from pinnace.models.classifier import Classifier
from pinnace.models.errors import UsageError
from pinnace.models.open_model import AnsweringModel
from pinnace.models.uses import output_spec
from pinnace.serving.errors import MalformedBody, UnknownModel, UnsupportedEncoding
from pinnace.serving.http.endpoint import receive_within, record_timing, wait_for_answer
from pinnace.serving.http.off_loop import off_loop
from pinnace.serving.http.request_body import BodyLimits, read_body
from pinnace.serving.http.state import server_state
from pinnace.serving.http.v2.bodies import TensorDescriptionBody, TensorModelBody, TensorServerBody
from pinnace.serving.http.v2.tensors import (
    DATATYPES,
    InferRequest,
    InputLimits,
    Output,
    parse_request,
    read_items,
)
from pinnace.serving.inference.registry import RegisteredModel
from pinnace.serving.inference.result import InferenceResult
from pinnace.serving.json_line import JsonLine
from pinnace.serving.observability.metrics import server_timing

HEADER_LENGTH = "Inference-Header-Content-Length"
EXTENSIONS = ["binary_tensor_data", "classification"]


async def server(request: Request) -> Response:
    """`GET /v2`: what this server is."""
    body: TensorServerBody = {
        "name": "pinnace",
        "version": version("pinnace"),
        "extensions": EXTENSIONS,
    }
    return JsonLine(body)


async def live(request: Request) -> Response:
    """`GET /v2/health/live`: the process is up."""
    return JsonLine({"live": True})


async def ready(request: Request) -> Response:
    """`GET /v2/health/ready`: all models of every worker have warmed up."""
    is_ready = server_state(request).is_ready()
    return JsonLine({"ready": is_ready}, 200 if is_ready else 503)


async def model_ready(request: Request) -> Response:
    """`GET /v2/models/{name}/ready`: there is such a model, and it has warmed up."""
    return JsonLine({"name": _model(request).name, "ready": True})


async def model(request: Request) -> Response:
    """`GET /v2/models/{name}`: its inputs and outputs."""
    if request.url.path.endswith("/infer"):  # a name may have slashes, so that this is one to the router
        raise HTTPException(405, headers={"Allow": "POST"})
    model = _model(request)
    answering = model.engine.model
    signature = answering.bundle.manifest.signature
    body: TensorModelBody = {
        "name": model.name,
        "versions": [model.version],
        "platform": f"{answering.runtime.name}_{answering.variant.format}",
        "inputs": [_described(signature.inputs[0])],
        "outputs": [_described_output(answering)],
    }
    return JsonLine(body)


def _described(spec: TensorSpec, datatype: str | None = None) -> TensorDescriptionBody:
    shape = [size if isinstance(size, int) else -1 for size in spec.shape]
    return {"name": spec.name, "datatype": datatype or DATATYPES[spec.dtype], "shape": [-1, *shape[1:]]}


def _described_output(model: AnsweringModel) -> TensorDescriptionBody:
    """The output that makes the answer, as one row of float32 for each image."""
    spec = output_spec(model.bundle.manifest.signature, model.outputs)
    return {"name": spec.name, "datatype": "FP32", "shape": [-1, width(spec) or 1]}


async def infer(request: Request) -> Response:
    """`POST /v2/models/{name}/infer`: tensors or images in, the model's output out."""
    settings = server_state(request).settings
    model = _model(request)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedEncoding("the body is compressed", hint="send it as it is")
    admission = server_state(request).models.admission
    admission.check()
    answering = model.engine.model
    limits = InputLimits(
        answering.bundle.manifest.signature.inputs[0], settings.max_batch_images, settings.max_body_bytes
    )
    length = _header_length(request)
    with admission.reserved_memory() as hold:
        most = settings.max_body_bytes if length is None else settings.max_batch_bytes
        body = await receive_within(read_body(request, BodyLimits(most, hold)), settings.upload_timeout)
        text, binary = _split(body, length, settings.max_body_bytes)
        asked = await off_loop(len(text), parse_request, text, limits, hold)
        wanted = _requested_output(asked, str(answering.outputs.name))
        if wanted.classes:
            wanted.classes = model.engine.check_top_k(wanted.classes)
        items = await off_loop(len(body), read_items, asked, binary, limits)
        # Meanwhile, another version may have come to answer.
        answering, rows = await wait_for_answer(request, model.infer(items), 2 * settings.timeout)
    output = Output(wanted.name, wanted.values(rows, answering), wanted.binary)
    described, raw = output.encode()
    answer: dict[str, Any] = {"model_name": model.name, "model_version": answering.bundle.version}
    if asked.id is not None:
        answer["id"] = asked.id
    answer["outputs"] = [described]
    names = {
        "model": model.name,
        "version": answering.bundle.version,
        "variant": answering.variant.name,
        "runtime": answering.runtime.name,
    }
    by_time = sorted(rows, key=lambda row: row.timing_ms.total)
    for row in by_time:
        record_timing(request, row.timing_ms, names)
    headers = server_timing(by_time[-1].timing_ms)
    if not wanted.binary:
        return JsonLine(answer, headers=headers)
    head = json.dumps(answer).encode()
    headers[HEADER_LENGTH] = str(len(head))
    return Response(head + raw, media_type="application/octet-stream", headers=headers)


class _RequestedOutput:
    """Which output the client wants, and in which form."""

    def __init__(self, name: str, binary: bool, classes: int) -> None:
        self.name = name
        self.binary = binary
        self.classes = classes

    def values(self, rows: list[InferenceResult], model: AnsweringModel) -> Any:
        """The output; or, where classes are asked for, texts of the greatest, as Triton writes them.

        One value stands for two classes, whose probabilities are written instead.
        """
        if not self.classes or not isinstance(model, Classifier):
            return np.stack([row.logits for row in rows])
        texts = []
        for row in rows:
            values = row.logits if len(row.logits) == len(model.labels) else model.scores(row.logits)
            order = np.argsort(-values, kind="stable")[: self.classes]
            texts.append([f"{values[index]:f}:{index}:{model.labels[index]}" for index in order])
        return texts


def _requested_output(asked: InferRequest, name: str) -> _RequestedOutput:
    binary = asked.parameters.get("binary_data_output", False)
    classes = 0
    if asked.outputs:
        if len(asked.outputs) > 1 or asked.outputs[0].name != name:
            wrong = next((one.name for one in asked.outputs if one.name != name), f"{name} twice")
            raise UsageError(f"the model has no output {wrong[:80]!r}", expected=name)
        parameters = asked.outputs[0].parameters
        binary = parameters.get("binary_data", binary)
        classes = parameters.get("classification", 0)
    if not isinstance(binary, bool):
        raise UsageError("binary_data and binary_data_output must be true or false")
    if not isinstance(classes, int) or isinstance(classes, bool):
        raise UsageError("classification must be a whole number")
    return _RequestedOutput(name, binary, classes)


def _header_length(request: Request) -> int | None:
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise MalformedBody(f"{HEADER_LENGTH} must be a whole number, not {text[:40]}")
    return int(text)


def _split(body: bytes, length: int | None, most: int) -> tuple[bytes, memoryview]:
    if length is None:
        return body, memoryview(b"")
    if length > min(len(body), most):
        raise MalformedBody(f"{HEADER_LENGTH} is {length}, more than {min(len(body), most)}")
    return body[:length], memoryview(body)[length:]


def _model(request: Request) -> RegisteredModel:
    model = server_state(request).models.model(request.path_params["name"])
    wanted = request.path_params.get("version")
    if wanted is not None and wanted != model.version:
        raise UnknownModel(f"{model.name} has no version {wanted[:80]!r} here", expected=model.version)
    return model
