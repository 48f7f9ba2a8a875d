"""The HTTP routes, as a Starlette application that the BentoML service mounts."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from pinnace.models.answer import Answer
from pinnace.models.errors import PinnaceError
from pinnace.serving.body import read_upload
from pinnace.serving.engine import Engine
from pinnace.serving.errors import (
    LateAnswer,
    SlowRequest,
    UnknownModel,
    error_response,
    http_exception,
    internal_error,
)
from pinnace.serving.listing import index_body, models_body
from pinnace.serving.page_files import PageFiles, wants_page
from pinnace.serving.settings import Settings

logger = logging.getLogger("pinnace.serving")

Handler = Callable[[Request], Awaitable[Response]]


def create_app(
    settings: Settings,
    *,
    open_engine: Callable[[Settings], Engine] = Engine.open,
    on_ready: Callable[[], None] = lambda: None,
) -> Starlette:
    """The application; the model is loaded when it starts up, before it takes a connection.

    Args:
        settings: limits and what to serve.
        open_engine: loads the model.
        on_ready: called once the model is warm.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        engine = await anyio.to_thread.run_sync(open_engine, settings)
        app.state.engine = engine
        on_ready()
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(engine.close)

    page_files = PageFiles()
    app = Starlette(
        routes=[
            Route("/", answering(index), methods=["GET"]),
            Route("/classify", answering(classify), methods=["POST"]),
            Route("/models", answering(models), methods=["GET"]),
            Route("/models/{name:path}/classify", answering(classify), methods=["POST"]),
            Mount("/page", page_files),
        ],
        exception_handlers={HTTPException: http_exception},
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.page_files = page_files
    return app


def answering(handler: Handler) -> Handler:
    """Turn what a handler raises into an answer in our form."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except PinnaceError as error:
            if error.http_status >= 500:
                logger.error("%s %s: %s", request.method, request.url.path, error)
            return error_response(error)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is left to read it
        except HTTPException:
            raise
        except Exception:
            logger.exception("%s %s failed", request.method, request.url.path)
            return internal_error()

    return endpoint


async def index(request: Request) -> Response:
    """`GET /`: the page, or what is served, and where."""
    if wants_page(request):
        files: PageFiles = request.app.state.page_files
        return await files.page(request.scope)
    return JSONResponse(index_body(request.app.state.engine.classifier), headers={"Vary": "Accept"})


async def models(request: Request) -> Response:
    """`GET /models`: what is served, in detail."""
    return JSONResponse(models_body([request.app.state.engine.classifier]))


async def classify(request: Request) -> Response:
    """`POST /classify` and `POST /models/{name}/classify`: one image in, named classes out."""
    settings: Settings = request.app.state.settings
    engine = chosen_engine(request)
    try:
        with anyio.fail_after(settings.timeout):
            upload = await read_upload(request, settings.max_body_bytes)
    except TimeoutError:
        raise SlowRequest(f"the request did not arrive within {settings.timeout:g} s") from None
    try:
        with anyio.fail_after(settings.timeout):
            answer = await engine.classify(upload)
    except TimeoutError:
        raise LateAnswer(
            f"the answer was not ready within {settings.timeout:g} s",
            hint="try again when the server is less busy",
        ) from None
    return JSONResponse(answer_body(answer))


def chosen_engine(request: Request) -> Engine:
    """The model that the path names; the one there is, where it names none."""
    engine: Engine = request.app.state.engine
    name = request.path_params.get("name")
    if name is not None and name != engine.classifier.bundle.name:
        raise UnknownModel(f"no model is named {name[:80]!r} here", expected=engine.classifier.bundle.name)
    return engine


def answer_body(answer: Answer) -> dict[str, Any]:
    """An answer as JSON data; times in milliseconds to the microsecond."""
    timing = answer.timing_ms
    return {
        "model": answer.model,
        "variant": answer.variant,
        "runtime": answer.runtime,
        "predictions": [
            {"label": p.label, "index": p.index, "probability": p.probability} for p in answer.predictions
        ],
        "timing_ms": {
            "decode": round(timing.decode, 3),
            "preprocess": round(timing.preprocess, 3),
            "queue": round(timing.queue, 3),
            "infer": round(timing.infer, 3),
            "total": round(timing.total, 3),
        },
    }
