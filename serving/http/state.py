"""What the routes of one worker share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request

from pinnace.serving.http.openapi.document import ServedDocument
from pinnace.serving.inference.registry import Registry
from pinnace.serving.observability.tracing import StageSpans
from pinnace.serving.routes import RouteTable
from pinnace.serving.settings import ServerSettings
from pinnace.serving.workers.reload import Reloader
from pinnace.serving.workers.watch import Watcher


@dataclass
class ServerState:
    """What the routes of one worker share; what is None is not there before the models are loaded.

    Attributes:
        routes: the table of routes.
        settings: limits and what to serve.
        is_ready: whether all workers have warmed up, and this one is not stopping.
        spans: where the times of an image are traced to, if they are.
        registry: the models.
        document: the OpenAPI document.
        reloader: reloads them in all workers.
        watcher: looks where they came from, where that is asked for.
        count_request: counts one by path, status and seconds that was answered before the middleware.
    """

    routes: RouteTable
    settings: ServerSettings
    is_ready: Callable[[], bool]
    spans: StageSpans | None = None
    registry: Registry | None = None
    reloader: Reloader | None = None
    watcher: Watcher | None = None
    count_request: Callable[[str, int, float], None] | None = None

    def __post_init__(self) -> None:
        """Make what depends on the other fields."""
        self.document = ServedDocument(self.routes, self.settings)

    @property
    def models(self) -> Registry:
        """The models, in a server that has started."""
        assert self.registry is not None
        return self.registry


def state_of(app: Starlette) -> ServerState:
    """The state of an application that `create_app` has made."""
    state: ServerState = app.state.server
    return state


def server_state(request: Request) -> ServerState:
    """The state of the application that a request came to."""
    return state_of(request.app)
