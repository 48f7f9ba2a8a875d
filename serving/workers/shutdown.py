"""Graceful shutdown: a worker goes on for a moment, then refuses new requests and answers those it has.

uvicorn closes its socket and every idle connection the moment SIGTERM arrives. A request that was on its way,
on a connection that the client had every right to use, would be lost.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLL_SECONDS = 0.05


class GracefulShutdown:
    """Whether this worker is stopping, and how many requests are still to be answered."""

    def __init__(self, seconds: float, grace: float) -> None:
        """Hold the two times; `install` takes SIGTERM over.

        Args:
            seconds: how long new requests are still taken.
            grace: how long requests may take altogether, once the worker is told to stop.
        """
        self.stopping = False
        self.requests = 0
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

    def __init__(self, app: ASGIApp, shutdown: GracefulShutdown) -> None:
        """Count for `shutdown` what `app` answers."""
        self._app = app
        self._shutdown = shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it while it is in progress."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._shutdown.stopping:
                MutableHeaders(raw=_headers(message))["Connection"] = "close"
            await send(message)

        self._shutdown.requests += 1
        try:
            await self._app(scope, receive, closing)
        finally:
            self._shutdown.requests -= 1


def _headers(message: Message) -> list[tuple[bytes, bytes]]:
    headers: Any = list(message.get("headers", ()))
    message["headers"] = headers
    return headers  # type: ignore[no-any-return]
