"""BentoML's request metrics, labelled by route: a label for every path would let clients fill the memory."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bentoml._internal.context import server_context
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from pinnace.serving.routes import RouteTable

_PATH = "pinnace.path"
_PAUSES = (0.01, 0.1)


def metrics_folder() -> Path:
    """Where the workers write their metrics, as the parent knows it."""
    from bentoml._internal.configuration.containers import BentoMLContainer

    return Path(BentoMLContainer.prometheus_multiproc_dir.get())


class _CachedSeries:
    """A metric of which `labels` looks up what it gave before. The labels of a server are few."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._series: dict[tuple[Any, ...], Any] = {}

    def labels(self, **labels: Any) -> Any:
        key = tuple(labels.values())
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._metric.labels(**labels)
        return series


class RouteMetrics:
    """BentoML's middleware, which takes the path for the name of the endpoint, between two that change it."""

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

        async def with_path(scope: Scope, receive: Receive, send: Send) -> None:
            if _PATH in scope:
                scope = {**scope, "path": scope[_PATH]}
            await app(scope, receive, send)

        self._app = app
        self._routes = routes
        self._metrics = RunnerTrafficMetricsMiddleware(with_path, **options)
        self._metrics._setup()
        # To find a series costs more than to count.
        for what in ("request_duration", "request_total", "last_request_timestamp"):
            name = f"metrics_{what}"
            setattr(self._metrics, name, _CachedSeries(getattr(self._metrics, name)))
        on_made(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a request under its route."""
        if scope["type"] == "http" and scope["path"] == "/metrics":
            await self._scrape(scope, receive, send)
            return
        if scope["type"] != "lifespan":
            route = self._routes.label(scope["path"])
            if route != scope["path"]:
                scope = {**scope, "path": route, _PATH: scope["path"]}
        await self._metrics(scope, receive, send)

    def count(self, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered before it came here, as all others are."""
        labels = {
            "endpoint": self._routes.label(path),
            "service_name": server_context.bento_name,
            "service_version": server_context.bento_version,
            "http_response_code": status,
            "runner_name": server_context.service_name,
        }
        self._metrics.metrics_request_total.labels(**labels).inc()
        self._metrics.metrics_request_duration.labels(**labels).observe(seconds)

    async def _scrape(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the numbers of all; again, where a worker is just making a file of them, which is empty."""
        for seconds in _PAUSES:
            with contextlib.suppress(struct.error):
                await self._app(scope, receive, send)
                return
            await asyncio.sleep(seconds)
        await self._app(scope, receive, send)
