"""BentoML's request metrics, labelled by route: a label for every path would let clients fill the memory."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bentoml._internal.context import server_context
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pinnace.serving.routes import RouteTable

_PAUSES = (0.01, 0.1)


def metrics_folder() -> Path:
    """Where the workers write their metrics, as the parent knows it."""
    from bentoml._internal.configuration.containers import BentoMLContainer

    return Path(BentoMLContainer.prometheus_multiproc_dir.get())


class RouteMetrics:
    """Counts in the metrics that BentoML's middleware makes, as it does, at a third of the cost.

    The series of a label are looked up once. The labels of a server are few.
    """

    def __init__(
        self, app: ASGIApp, routes: RouteTable, on_made: Callable[[RouteMetrics], None], **options: Any
    ) -> None:
        """Count what `app` answers.

        Args:
            app: the next application.
            routes: what paths are counted as.
            on_made: called with this middleware, which its owner does not make itself.
            options: those of BentoML's middleware.
        """
        self._app = app
        self._routes = routes
        self._metrics = RunnerTrafficMetricsMiddleware(app, **options)
        self._metrics._setup()
        self._unstamped = tuple(self._metrics.skip_paths)
        self._answered: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._in_progress: dict[str, Any] = {}
        self._stamp: Any = None
        on_made(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a request under its route."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path == "/metrics":
            await self._scrape(scope, receive, send)
            return
        if not path.startswith(self._unstamped):
            self._stamp_time()
        started = time.perf_counter()
        status = 0

        def counted(message: Message) -> Awaitable[None]:  # one coroutine less for each message
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body"):
                self.count(path, status, time.perf_counter() - started)
            return send(message)

        in_progress = self._in_progress_of(self._routes.label(path))
        in_progress.inc()
        try:
            await self._app(scope, receive, counted)
        finally:
            in_progress.dec()

    def count(self, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered, here or before it came here."""
        key = self._routes.label(path), status
        series = self._answered.get(key)
        if series is None:
            labels = {**self._service(), "endpoint": key[0], "http_response_code": status}
            total = self._metrics.metrics_request_total.labels(**labels)
            series = self._answered[key] = total, self._metrics.metrics_request_duration.labels(**labels)
        series[0].inc()
        series[1].observe(seconds)

    def _in_progress_of(self, label: str) -> Any:
        series = self._in_progress.get(label)
        if series is None:
            gauge = self._metrics.metrics_request_in_progress
            series = self._in_progress[label] = gauge.labels(**self._service(), endpoint=label)
        return series

    def _stamp_time(self) -> None:
        if self._stamp is None:
            self._stamp = self._metrics.metrics_last_request_timestamp.labels(**self._service())
        self._stamp.set_to_current_time()

    @staticmethod
    def _service() -> dict[str, Any]:
        return {
            "service_name": server_context.bento_name,
            "service_version": server_context.bento_version,
            "runner_name": server_context.service_name,
        }

    async def _scrape(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the numbers of all; again, where a worker is just making a file of them, which is empty."""
        for seconds in _PAUSES:
            with contextlib.suppress(struct.error):
                await self._app(scope, receive, send)
                return
            await asyncio.sleep(seconds)
        await self._app(scope, receive, send)
