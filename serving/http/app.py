"""The routes as a Starlette application, which the BentoML service mounts."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Mount
from starlette.routing import Route as StarletteRoute

from pinnace.serving.http.endpoint import endpoint, http_exception_handler
from pinnace.serving.http.state import ServerState, state_of
from pinnace.serving.inference.registry import Registry
from pinnace.serving.routes import RouteTable
from pinnace.serving.settings import ServerSettings


def create_app(
    routes: RouteTable,
    settings: ServerSettings,
    *,
    open_registry: Callable[[], Registry],
    on_ready: Callable[[Registry], None] = lambda registry: None,
    is_ready: Callable[[], bool] = lambda: True,
) -> Starlette:
    """The application; the models are loaded when it starts up, before it takes a connection.

    Args:
        routes: what is served.
        settings: limits.
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

    app = Starlette(
        routes=_starlette_routes(routes),
        exception_handlers={HTTPException: http_exception_handler(routes)},
        lifespan=lifespan,
    )
    app.state.server = ServerState(routes, settings, is_ready)
    return app


def _starlette_routes(routes: RouteTable) -> list[BaseRoute]:
    """What Starlette routes; what BentoML answers is not among it."""
    found: list[BaseRoute] = []
    for route in routes.routes:
        if route.app is not None:
            found.append(Mount(route.path, route.app))
        elif route.handler is not None:
            found.append(StarletteRoute(route.path, endpoint(route.handler), methods=[route.method]))
    return found
