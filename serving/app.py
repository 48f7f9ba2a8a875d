"""The HTTP routes, as a Starlette application that the BentoML service mounts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from pinnace.models.answer import Answer
from pinnace.models.errors import ImageTooLarge, PinnaceError
from pinnace.serving.body import Limits, discard, read_batch, read_upload, whole
from pinnace.serving.errors import (
    LateAnswer,
    Overloaded,
    SlowRequest,
    error_data,
    error_response,
    http_exception,
    unforeseen,
)
from pinnace.serving.listing import index_body, models_body
from pinnace.serving.metrics import server_timing
from pinnace.serving.page_files import PageFiles, wants_page
from pinnace.serving.registry import Registry, Served
from pinnace.serving.reload import Reloading
from pinnace.serving.settings import Settings

logger = logging.getLogger("pinnace.serving")

T = TypeVar("T")

Handler = Callable[[Request], Awaitable[Response]]


def create_app(
    settings: Settings,
    *,
    open_registry: Callable[[Settings], Registry] = Registry.open,
    on_ready: Callable[[Registry], None] = lambda registry: None,
) -> Starlette:
    """The application; the models are loaded when it starts up, before it takes a connection.

    Args:
        settings: limits and what to serve.
        open_registry: loads the models.
        on_ready: called on the event loop with the models, once they are warm.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        registry = await anyio.to_thread.run_sync(open_registry, settings)
        app.state.registry = registry
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
            # Of refusals there may be hundreds a second; the metrics count them.
            if error.http_status >= 500 and not isinstance(error, Overloaded | LateAnswer):
                logger.error("%s %s: %s", request.method, request.url.path, error)
            return await refusal(request, error)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is left to read it
        except HTTPException:
            raise
        except Exception:
            logger.exception("%s %s failed", request.method, request.url.path)
            return await refusal(request, unforeseen())

    return endpoint


async def index(request: Request) -> Response:
    """`GET /`: the page, or what is served, and where."""
    if wants_page(request):
        files: PageFiles = request.app.state.page_files
        return await files.page(request.scope)
    return JSONResponse(index_body(served(request).classifiers), headers={"Vary": "Accept"})


async def docs(request: Request) -> Response:
    """`GET /docs`: the OpenAPI description, to be read."""
    files: PageFiles = request.app.state.page_files
    return await files.docs(request.scope)


async def models(request: Request) -> Response:
    """`GET /models`: what is served, in detail."""
    return JSONResponse(models_body(served(request).classifiers))


async def classify(request: Request) -> Response:
    """`POST /classify` and `POST /models/{name}/classify`: one image in, named classes out."""
    settings: Settings = request.app.state.settings
    model = chosen_model(request)
    admission = served(request).admission
    admission.check()
    with admission.held() as hold:
        limits = Limits(settings.max_body_bytes, hold, model.check_top_k)
        upload = await in_time(read_upload(request, limits), settings.upload_timeout)
        answer = await answered(request, model.classify(upload), settings.timeout)
    return JSONResponse(answer_body(answer), headers=server_timing(answer.timing_ms))


async def classify_batch(request: Request) -> Response:
    """`POST /classify_batch`: several images in, an answer or an error for each, in order."""
    settings: Settings = request.app.state.settings
    model = chosen_model(request)
    admission = served(request).admission
    admission.check()
    with admission.held() as hold:
        limits = Limits(
            settings.max_batch_bytes,
            hold,
            model.check_top_k,
            image_bytes=settings.max_body_bytes,
            images=settings.max_batch_images,
        )
        batch = await in_time(read_batch(request, limits), settings.upload_timeout)
        # The engine gives every image the time there is; this is for what should not happen.
        outcomes = await answered(request, model.classify_batch(batch), 2 * settings.timeout)
    results = [
        error_data(outcome) if isinstance(outcome, PinnaceError) else answer_body(outcome)
        for outcome in outcomes
    ]
    return JSONResponse({"results": results})


async def reload(request: Request) -> Response:
    """`POST /models/{name}/reload`: answer with the bundle that stands on disk now, in every worker."""
    reloading: Reloading = request.app.state.reloading
    name = request.path_params["name"]
    done = await reloading.everywhere(name)
    return JSONResponse(
        {"model": name, "version": done.version, "previous": done.previous, "workers": done.workers}
    )


async def in_time(reading: Awaitable[T], seconds: float) -> T:
    """What is read, if it comes in time.

    Raises:
        SlowRequest: it does not.
    """
    try:
        with anyio.fail_after(seconds):
            return await reading
    except TimeoutError:
        raise SlowRequest(f"the request did not arrive within {seconds:g} s") from None


async def answered(request: Request, work: Coroutine[Any, Any, T], seconds: float) -> T:
    """The outcome of the work, which is dropped once it would be late, or the client has gone away.

    Raises:
        LateAnswer: it is not ready in time.
        ClientDisconnect: nobody waits for it.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(disconnected(request))
    try:
        done, _ = await asyncio.wait((task, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        if gone in done:
            raise ClientDisconnect()
        raise LateAnswer(
            f"the answer was not ready within {seconds:g} s", hint="try again when the server is less busy"
        )
    finally:
        task.cancel()
        gone.cancel()


async def disconnected(request: Request) -> None:
    """Wait until the client of a request that has been read has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def refusal(request: Request, error: PinnaceError) -> Response:
    """The answer for an error; a request whose body would come for long is not listened to any further."""
    if whole(request):
        return error_response(error)
    settings: Settings = request.app.state.settings
    declared = request.headers.get("content-length", "")
    endless = "transfer-encoding" in request.headers or (
        declared.isdecimal() and int(declared) > settings.max_body_bytes
    )
    close = endless or isinstance(error, SlowRequest)
    if endless and isinstance(error, ImageTooLarge):
        await discard(request)
    return error_response(error, close=close)


def served(request: Request) -> Registry:
    """The models that are served."""
    registry: Registry = request.app.state.registry
    return registry


def chosen_model(request: Request) -> Served:
    """The model that the path names; the first, where it names none."""
    return served(request).model(request.path_params.get("name"))


def answer_body(answer: Answer) -> dict[str, Any]:
    """An answer as JSON data; times in milliseconds to the microsecond."""
    timing = answer.timing_ms
    return {
        "model": answer.model,
        "version": answer.version,
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
