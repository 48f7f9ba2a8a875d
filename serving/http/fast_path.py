"""A shorter way for the busiest routes: straight to the handler, past three routers.

To `POST /classify`, BentoML's router, its mount and the router of our application are a third of what the
event loop has to do; for a request that is refused because the server is full, too, which is when it matters.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]


class FastPath:
    """Middleware that answers some paths itself; all middleware outside it still runs for them."""

    def __init__(
        self,
        app: ASGIApp,
        owner: Starlette,
        posts: Mapping[str, Endpoint],
        gets: Mapping[str, Endpoint] | None = None,
    ) -> None:
        """Hand everything else on to `app`.

        Args:
            app: what answers all other requests, and every other method.
            owner: the application that the endpoints belong to, which they know as `request.app`.
            posts: the endpoint of each path. It raises nothing that is to become an answer.
            gets: the same for GET and HEAD.
        """
        self._app = app
        self._owner = owner
        self._endpoints = {"POST": posts, "GET": gets or {}, "HEAD": gets or {}}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one of the paths; pass everything else on."""
        endpoint = None
        if scope["type"] == "http" and scope["method"] in self._endpoints:
            endpoint = self._endpoints[scope["method"]].get(scope["path"])
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        scope["app"] = self._owner
        request = Request(scope, receive, send)
        response = await endpoint(request)
        await response(scope, receive, send)
