"""Graceful shutdown: a worker goes on for a moment, then refuses new requests and answers those it has.

uvicorn closes its socket and every idle connection the moment SIGTERM arrives. A request that was on its way,
on a connection that the client had every right to use, would be lost. What is not answered when the grace is
over gets a 503; a worker that does not end then is killed by its parent.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pinnace.serving.errors import Overloaded, error_response
from pinnace.serving.routes import RouteTable

_POLL_SECONDS = 0.05

# What is left to write the refusals when the grace is over.
_LAST_ANSWERS_SECONDS = 0.3


class GracefulShutdown:
    """How far this worker is with stopping.

    Attributes:
        stopping: it was told to.
        over: its grace is over.
        requests: the tasks of the requests that are still to be answered.
    """

    def __init__(self, seconds: float, grace: float) -> None:
        """Hold the two times, in seconds; `install` takes SIGTERM over.

        Args:
            seconds: how long new requests are still taken.
            grace: how long requests may take altogether, once the worker is told to stop.
        """
        self.stopping = False
        self.over = False
        self.requests: set[asyncio.Task[Any]] = set()
        self._seconds = seconds
        self._grace = grace
        self._task: asyncio.Task[None] | None = None

    def install(self, begin_to_stop: Callable[[], None], refuse: Callable[[], None]) -> None:
        """Take SIGTERM over from the server that runs this event loop, and hand it on later.

        Args:
            begin_to_stop: called at once.
            refuse: called once no new request is to be taken.
        """
        loop = asyncio.get_running_loop()
        stop_now = signal.getsignal(signal.SIGTERM)

        async def drain(sign: int) -> None:
            begin_to_stop()
            await asyncio.sleep(self._seconds)
            refuse()
            end = loop.time() + self._grace - self._seconds
            while self.requests and loop.time() < end:
                await asyncio.sleep(_POLL_SECONDS)
            self.over = True
            for request in self.requests:
                request.cancel()
            while self.requests and loop.time() < end + _LAST_ANSWERS_SECONDS:
                await asyncio.sleep(_POLL_SECONDS)
            if callable(stop_now):
                stop_now(sign, None)

        def begin(sign: int, frame: FrameType | None) -> None:
            if not self.stopping:
                self.stopping = True
                loop.call_soon_threadsafe(start, sign)

        def start(sign: int) -> None:
            self._task = loop.create_task(drain(sign))

        signal.signal(signal.SIGTERM, begin)


class ShutdownMiddleware:
    """Middleware that counts requests and, while the worker stops, ends each connection with its answer."""

    def __init__(self, app: ASGIApp, shutdown: GracefulShutdown, routes: RouteTable) -> None:
        """Count for `shutdown` what `app` answers; `routes` know the form of an error."""
        self._app = app
        self._shutdown = shutdown
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it while it is in progress."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        started = False

        def closing(message: Message) -> Awaitable[None]:  # one coroutine less for each message
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if self._shutdown.stopping:
                    MutableHeaders(raw=_headers(message))["Connection"] = "close"
            return send(message)

        task = asyncio.current_task()
        assert task is not None
        self._shutdown.requests.add(task)
        try:
            await self._app(scope, receive, closing)
        except asyncio.CancelledError:
            if not self._shutdown.over or started:
                raise
            refusal = Overloaded("the server has stopped before the answer was ready")
            form = self._routes.error_form(scope["path"])
            await error_response(refusal, close=True, form=form)(scope, receive, send)
        finally:
            self._shutdown.requests.discard(task)


def _headers(message: Message) -> list[tuple[bytes, bytes]]:
    headers: Any = list(message.get("headers", ()))
    message["headers"] = headers
    return headers  # type: ignore[no-any-return]
