"""What all handlers share: time limits, the conversion of exceptions into JSON errors, and timing records."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from pinnace.models.answer import Timing
from pinnace.models.errors import PinnaceError
from pinnace.models.tracebacks import release_frames
from pinnace.serving.errors import (
    LateAnswer,
    Overloaded,
    SlowRequest,
    error_response,
    http_error_response,
    internal_error,
)
from pinnace.serving.http.bodies import TimingBody
from pinnace.serving.http.request_body import body_was_read
from pinnace.serving.http.state import server_state
from pinnace.serving.observability.request_log import FACTS, add_log_fields
from pinnace.serving.routes import Handler, RouteTable
from pinnace.serving.workers.connection_watch import WATCH_PEER, WatchPeer

logger = logging.getLogger("pinnace.serving")

T = TypeVar("T")


def endpoint(handler: Handler) -> Handler:
    """Wrap a handler, so that what it raises becomes a JSON error."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as error:
            try:
                return await _failure(request, error)
            finally:
                release_frames(error)

    return answer


async def _failure(request: Request, error: Exception) -> Response:
    """What answers a request whose handler has raised."""
    if isinstance(error, PinnaceError):
        # Of refusals there may be hundreds a second; the metrics count them.
        if error.http_status >= 500 and not isinstance(error, Overloaded | LateAnswer):
            logger.error("%s %s: %s", request.method, request.url.path, error)
        return await refusal(request, error)
    if isinstance(error, ClientDisconnect):
        return Response(status_code=400)  # nobody is left to read it
    if isinstance(error, HTTPException):
        return _http_error(request, error, server_state(request).routes)
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return await refusal(request, internal_error())


def http_exception_handler(routes: RouteTable) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What answers Starlette's own errors, for an application whose routes these are."""

    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _http_error(request, error, routes)

    return answer


def _http_error(request: Request, error: HTTPException, routes: RouteTable) -> Response:
    return http_error_response(request, error, routes.error_form(request.url.path))


async def receive_within(reading: Awaitable[T], seconds: float) -> T:
    """Await the reading of a request, with a time limit.

    Raises:
        SlowRequest: it does not.
    """
    stop = _Interruption()
    timer = stop.after(seconds, lambda: SlowRequest(f"the request did not arrive within {seconds:g} s"))
    try:
        return await reading
    except asyncio.CancelledError:
        raise stop.error() from None
    finally:
        timer.cancel()


async def wait_for_answer(request: Request, work: Awaitable[T], seconds: float) -> T:
    """Await the work, and cancel it once it is late or the client has gone away.

    Raises:
        LateAnswer: it is not ready in time.
        ClientDisconnect: the client has gone away.
    """
    stop = _Interruption()
    timer = stop.after(seconds, lambda: _late(seconds))
    forget = _call_when_gone(request, lambda: stop(ClientDisconnect()))
    try:
        return await work
    except asyncio.CancelledError:
        raise stop.error() from None
    finally:
        timer.cancel()
        forget()


class _Interruption:
    """Ends what the task that makes it waits for, with an error. A task for each wait would cost far more."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._error: Exception | None = None

    def __call__(self, error: Exception) -> None:
        """Cancel what the task waits for; the first error counts."""
        if self._error is None and self._task is not None:
            self._error = error
            self._task.cancel()

    def after(self, seconds: float, error: Callable[[], Exception]) -> asyncio.TimerHandle:
        """Do so later."""
        return self._loop.call_later(seconds, lambda: self(error()))

    def error(self) -> BaseException:
        """What the task raises now that it was cancelled, by this or by another."""
        if self._error is None:
            return asyncio.CancelledError()
        if sys.version_info >= (3, 11) and self._task is not None:
            self._task.uncancel()
        return self._error


def _late(seconds: float) -> LateAnswer:
    return LateAnswer(
        f"the answer was not ready within {seconds:g} s", hint="try again when the server is less busy"
    )


def _call_when_gone(request: Request, call: Callable[[], None]) -> Callable[[], None]:
    """Call once the client of a request that was read has gone away, until what is returned is called."""
    watch: WatchPeer | None = request.scope.get(WATCH_PEER)
    if watch is not None:
        watch(call)
        return lambda: watch(None)

    async def wait() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        call()

    waiting = asyncio.ensure_future(wait())

    def forget() -> None:
        waiting.cancel()

    return forget


async def refusal(request: Request, error: PinnaceError) -> Response:
    """The response for an error; the connection is closed where the rest of a large body would still come."""
    add_log_fields(request.scope, code=error.code)
    form = server_state(request).routes.error_form(request.scope["path"])
    if body_was_read(request):
        return error_response(error, form=form)
    declared = request.headers.get("content-length", "")
    endless = "transfer-encoding" in request.headers or (
        declared.isdecimal() and int(declared) > server_state(request).settings.max_body_bytes
    )
    close = endless or isinstance(error, SlowRequest)
    return error_response(error, close=close, form=form)


def record_timing(request: Request, timing: Timing, names: dict[str, str]) -> None:
    """Write the times of an image, and the names of what answered, to the access log and the trace."""
    if FACTS in request.scope:
        add_log_fields(request.scope, **names, timing_ms=rounded(timing))
    spans = server_state(request).spans
    if spans is not None:
        trace_id = spans.write(timing, **names)
        if trace_id is not None:
            add_log_fields(request.scope, trace_id=trace_id)


def rounded(timing: Timing) -> TimingBody:
    """Times in milliseconds to the microsecond."""
    return {
        "decode": round(timing.decode, 3),
        "preprocess": round(timing.preprocess, 3),
        "queue": round(timing.queue, 3),
        "infer": round(timing.infer, 3),
        "total": round(timing.total, 3),
    }
