"""Who may ask: who brings an API key, where one is set. What is open says nothing of the traffic."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pinnace.serving.errors import Unauthorized, error_response
from pinnace.serving.routes import RouteTable


class ApiKeyMiddleware:
    """Middleware that answers 401 to a request without the key, before its body is read."""

    def __init__(self, app: ASGIApp, keys: Sequence[str], routes: RouteTable) -> None:
        """Pass requests with one of `keys` on to `app`, and those for paths that are open in `routes`."""
        self._app = app
        self._routes = routes
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or pass the request on."""
        open_to_all = scope["type"] == "lifespan" or self._routes.is_open(scope["path"])
        if open_to_all or self._is_right(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        # As long as a large body would come, so long would the connection be held.
        close = "content-length" in Headers(scope=scope) or "transfer-encoding" in Headers(scope=scope)
        error = Unauthorized(
            "the request has no API key, or another than the server's",
            hint="send it as Authorization: Bearer KEY, or as X-API-Key: KEY",
        )
        form = self._routes.error_form(scope["path"])
        await error_response(error, close=close, form=form)(scope, receive, send)

    def _is_right(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        given = [token.strip()] if kind.lower() == "bearer" else []
        given += headers.getlist("x-api-key")
        # Header values arrive as Latin-1; whatever bytes the key has, they are compared as they were sent.
        # All are compared, whichever is the right one.
        right = [hmac.compare_digest(one.encode("latin-1"), key) for one in given for key in self._keys]
        return any(right)
