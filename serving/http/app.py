"""The HTTP routes, as a Starlette application that the BentoML service mounts."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from pinnace.models.answer import Answer
from pinnace.models.errors import PinnaceError
from pinnace.serving.errors import error_data, http_exception
from pinnace.serving.http.endpoint import (
    answering,
    receive_within,
    record_timing,
    rounded,
    wait_for_answer,
)
from pinnace.serving.http.model_info import index_body, models_body
from pinnace.serving.http.request_body import BodyLimits, read_batch, read_upload
from pinnace.serving.http.state import ServerState, server_state, state_of
from pinnace.serving.http.static import PageFiles, wants_page
from pinnace.serving.http.v2 import routes
from pinnace.serving.inference.registry import Registry, ServedModel
from pinnace.serving.observability.metrics import server_timing
from pinnace.serving.settings import ServerSettings


def create_app(
    settings: ServerSettings,
    *,
    open_registry: Callable[[], Registry],
    on_ready: Callable[[Registry], None] = lambda registry: None,
    is_ready: Callable[[], bool] = lambda: True,
) -> Starlette:
    """The application; the models are loaded when it starts up, before it takes a connection.

    Args:
        settings: limits and what to serve.
        open_registry: loads the models.
        on_ready: called on the event loop with the models, once they are warm.
        is_ready: whether all workers are.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        registry = await anyio.to_thread.run_sync(open_registry)
        state_of(app).registry = registry
        on_ready(registry)
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(registry.close)

    page_files = PageFiles()
    app = Starlette(
        routes=[
            Route("/", answering(index), methods=["GET"]),
            Route("/classify", answering(classify), methods=["POST"]),
            Route("/classify_batch", answering(classify_batch), methods=["POST"]),
            Route("/docs", answering(docs), methods=["GET"]),
            Route("/models", answering(models), methods=["GET"]),
            Route("/models/{name:path}/classify", answering(classify), methods=["POST"]),
            Route("/models/{name:path}/classify_batch", answering(classify_batch), methods=["POST"]),
            Route("/models/{name:path}/reload", answering(reload), methods=["POST"]),
            *routes.routes(),
            Mount("/page", page_files),
        ],
        exception_handlers={HTTPException: http_exception},
        lifespan=lifespan,
    )
    app.state.server = ServerState(settings, page_files, is_ready)
    return app


async def index(request: Request) -> Response:
    """`GET /`: the page, or what is served, and where."""
    if wants_page(request):
        return await server_state(request).page_files.page(request.scope)
    return JSONResponse(index_body(server_state(request).models.classifiers), headers={"Vary": "Accept"})


async def docs(request: Request) -> Response:
    """`GET /docs`: the OpenAPI description, to be read."""
    return await server_state(request).page_files.docs(request.scope)


async def models(request: Request) -> Response:
    """`GET /models`: what is served, in detail."""
    return JSONResponse(models_body(server_state(request).models.classifiers))


async def classify(request: Request) -> Response:
    """`POST /classify` and `POST /models/{name}/classify`: one image in, named classes out."""
    state = server_state(request)
    settings, admission = state.settings, state.models.admission
    model = requested_model(request)
    admission.check()
    with admission.reserved_memory() as hold:
        limits = BodyLimits(settings.max_body_bytes, hold, model.engine.check_top_k)
        upload = await receive_within(read_upload(request, limits), settings.upload_timeout)
        answer = await wait_for_answer(request, model.classify(upload), settings.timeout)
    record_answer(request, answer)
    return JSONResponse(answer_body(answer), headers=server_timing(answer.timing_ms))


async def classify_batch(request: Request) -> Response:
    """`POST /classify_batch`: several images in, an answer or an error for each, in order."""
    state = server_state(request)
    settings, admission = state.settings, state.models.admission
    model = requested_model(request)
    admission.check()
    with admission.reserved_memory() as hold:
        limits = BodyLimits(
            settings.max_batch_bytes,
            hold,
            model.engine.check_top_k,
            image_bytes=settings.max_body_bytes,
            images=settings.max_batch_images,
        )
        batch = await receive_within(read_batch(request, limits), settings.upload_timeout)
        # The engine gives every image the time there is; this is for what should not happen.
        outcomes = await wait_for_answer(request, model.classify_batch(batch), 2 * settings.timeout)
    for outcome in outcomes:
        if not isinstance(outcome, PinnaceError):
            record_answer(request, outcome)
    results = [
        error_data(outcome) if isinstance(outcome, PinnaceError) else answer_body(outcome)
        for outcome in outcomes
    ]
    return JSONResponse({"results": results})


async def reload(request: Request) -> Response:
    """`POST /models/{name}/reload`: answer with the bundle that stands on disk now, in every worker."""
    reloader = server_state(request).reloader
    assert reloader is not None
    name = request.path_params["name"]
    done = await reloader.reload_in_all_workers(name)
    return JSONResponse(
        {"model": name, "version": done.version, "previous": done.previous, "workers": done.workers}
    )


def record_answer(request: Request, answer: Answer) -> None:
    """Tell the log and the trace of an answer."""
    names = {name: getattr(answer, name) for name in ("model", "version", "variant", "runtime")}
    record_timing(request, answer.timing_ms, names)


def requested_model(request: Request) -> ServedModel:
    """The model that the path names; the first, where it names none."""
    return server_state(request).models.model(request.path_params.get("name"))


def answer_body(answer: Answer) -> dict[str, Any]:
    """An answer as JSON data; times in milliseconds to the microsecond."""
    return {
        "model": answer.model,
        "version": answer.version,
        "variant": answer.variant,
        "runtime": answer.runtime,
        "predictions": [
            {"label": p.label, "index": p.index, "probability": p.probability} for p in answer.predictions
        ],
        "timing_ms": rounded(answer.timing_ms),
    }
