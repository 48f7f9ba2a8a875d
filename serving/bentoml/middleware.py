"""Which of BentoML's middleware a worker keeps, and where it stands among ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from pinnace.serving.bentoml.route_metrics import RouteMetrics
from pinnace.serving.routes import RouteTable


def arrange(
    given: list[Middleware],
    *,
    outermost: list[Middleware],
    innermost: list[Middleware],
    routes: RouteTable,
    tracer_provider: Any | None,
    on_route_metrics: Callable[[RouteMetrics], None],
) -> list[Middleware]:
    """BentoML's middleware and ours, the outermost first.

    BentoML's timeout is left out, because ours answers with our JSON errors, and so is its tracing where no
    exporter is configured: each of the two costs as much CPU per request as the whole route of an image.

    Args:
        given: what BentoML has put together.
        outermost: ours that see a request before BentoML's.
        innermost: ours that see it after them.
        routes: what paths are counted as.
        tracer_provider: where traces go, if anywhere.
        on_route_metrics: called with the middleware that counts requests, once it is made.
    """
    outer, inner = list(outermost), list(innermost)
    for entry in given:
        name = getattr(entry.cls, "__name__", "")
        if name == "RunnerTrafficMetricsMiddleware":
            counted = {**entry.kwargs, "routes": routes, "on_made": on_route_metrics}
            outer.append(Middleware(RouteMetrics, **counted))  # type: ignore[arg-type]
        elif name == "OpenTelemetryMiddleware":
            if tracer_provider is not None:
                traced = {
                    **entry.kwargs,
                    "tracer_provider": tracer_provider,
                    "exclude_spans": ["receive", "send"],
                }
                outer.append(Middleware(entry.cls, **traced))  # type: ignore[call-arg]
        elif name == "ContextMiddleware":
            inner.append(entry)  # none of our routes uses BentoML's context of a request
        elif name != "TimeoutMiddleware":
            outer.append(entry)
    return [*outer, *inner]


class Outside:
    """A worker's application behind middleware that a request goes through before it comes to Starlette.

    Inside Starlette's own stack each request would pay for that too, although the busiest routes need none
    of it.
    """

    def __init__(self, app: Starlette, middleware: list[Middleware]) -> None:
        """Put `middleware`, the outermost first, around `app`."""
        self._app = app
        self._middleware = middleware
        self._stack: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; the first call makes the middleware, as in Starlette: the process is set up by then."""
        if self._stack is None:
            self._stack = self._app
            for cls, args, kwargs in reversed(self._middleware):
                self._stack = cls(self._stack, *args, **kwargs)
        await self._stack(scope, receive, send)
