"""Who may ask: an API key, where one is set. What answers without it says nothing of the traffic."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pinnace.serving.errors import Unauthorized, error_response

OPEN_PATHS = ("/", "/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready")
OPEN_FOLDER = "/page/"


class ApiKeyMiddleware:
    """Middleware that answers 401 to a request without the key, before its body is read."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        """Let those through to `app` who bring `key`."""
        self._app = app
        self._key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] == "lifespan" or _is_open(scope["path"]) or self._is_right(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        # As long as a large body would come, so long would the connection be held.
        close = "content-length" in Headers(scope=scope) or "transfer-encoding" in Headers(scope=scope)
        error = Unauthorized(
            "the request has no API key, or another than the server's",
            hint="send it as Authorization: Bearer KEY, or as X-API-Key: KEY",
        )
        await error_response(error, close=close, path=scope["path"])(scope, receive, send)

    def _is_right(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        given = [token.strip()] if kind.lower() == "bearer" else []
        given += headers.getlist("x-api-key")
        # Header values arrive as Latin-1; whatever bytes the key has, they are compared as they were sent.
        return any(hmac.compare_digest(one.encode("latin-1"), self._key) for one in given)


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDER)
