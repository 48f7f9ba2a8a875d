"""`POST /embed` and `POST /models/{name}/embed`: one image in, the vector of a network without a head out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from pinnace.models.answer import Embedding
from pinnace.models.errors import UsageError
from pinnace.serving.http.bodies import EmbeddingBody
from pinnace.serving.http.endpoint import receive_within, record_timing, rounded, wait_for_answer
from pinnace.serving.http.openapi.operations import image_body, model_name
from pinnace.serving.http.openapi.responses import FOR_AN_IMAGE, failures, success
from pinnace.serving.http.openapi.schemas import ref
from pinnace.serving.http.openapi.tags import EMBEDDINGS
from pinnace.serving.http.request_body import BodyLimits, read_upload
from pinnace.serving.http.route_families.classify import requested_model
from pinnace.serving.http.state import server_state
from pinnace.serving.json_line import JsonLine
from pinnace.serving.observability.metrics import server_timing
from pinnace.serving.routes import Json, Route, RouteFamily, ServerFacts


async def embed(request: Request) -> Response:
    """`POST /embed` and `POST /models/{name}/embed`: one image in, a vector out."""
    state = server_state(request)
    settings, admission = state.settings, state.models.admission
    model = requested_model(request)
    _ = model.engine.embedder  # refused before the body is read
    admission.check()
    with admission.reserved_memory() as hold:
        limits = BodyLimits(settings.max_body_bytes, hold, _no_parameter, _no_parameter, parameters=())
        upload = await receive_within(read_upload(request, limits), settings.upload_timeout)
        embedding = await wait_for_answer(request, model.embed(upload.image), settings.timeout)
    record_embedding(request, embedding)
    return JsonLine(embedding_body(embedding), headers=server_timing(embedding.timing_ms))


def record_embedding(request: Request, embedding: Embedding) -> None:
    """Write an embedding's times to the log and the trace."""
    names = {name: getattr(embedding, name) for name in ("model", "version", "variant", "runtime")}
    record_timing(request, embedding.timing_ms, names)


def embedding_body(embedding: Embedding) -> EmbeddingBody:
    """An embedding as JSON data; times in milliseconds to the microsecond."""
    return {
        "model": embedding.model,
        "version": embedding.version,
        "variant": embedding.variant,
        "runtime": embedding.runtime,
        "embedding": list(embedding.embedding),
        "normalised": embedding.normalised,
        "timing_ms": rounded(embedding.timing_ms),
    }


def _no_parameter(value: float) -> None:
    raise UsageError("top_k and threshold mean nothing to an embedding", hint="leave them out")


def _describe(operation: str, summary: str, name: Json | None = None) -> Json:
    unknown = () if name is None else ("404",)
    return {
        "summary": summary,
        "description": "The model must be a network without a head; `outputs` in `GET /models` says so.",
        "operationId": operation,
        "tags": [EMBEDDINGS],
        "parameters": [] if name is None else [name],
        "requestBody": image_body(),
        "responses": {
            **success("The vector.", ref(EmbeddingBody)),
            **failures(*FOR_AN_IMAGE, *unknown),
        },
    }


def _describe_default(facts: ServerFacts) -> Json | None:
    if not facts.default_is(facts.embedders):
        return None
    return _describe("embed", "The vector of one image")


def _describe_by_name(facts: ServerFacts) -> Json | None:
    if not facts.any_is(facts.embedders):
        return None
    name = model_name(facts, facts.embedders)
    return _describe("embed_with_model", "The vector of one image by a model's name", name)


FAMILY = RouteFamily(
    rank=15,
    routes=(
        Route(
            "/embed",
            "POST",
            embed,
            listed="one image, as for /classify: the vector of a network without a head",
            operation=_describe_default,
            bodies=(EmbeddingBody,),
        ),
        Route("/models/{name:path}/embed", "POST", embed, operation=_describe_by_name),
    ),
)
