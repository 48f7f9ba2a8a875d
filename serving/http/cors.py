"""Which pages of other origins may ask, as Starlette has it, with refusals in our form."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from pinnace.serving.errors import CrossOriginRefused, error_response
from pinnace.serving.routes import RouteTable

_SHOWN = 200


class CrossOrigin(CORSMiddleware):
    """Starlette's middleware; its refusal of a preflight is text."""

    def __init__(self, app: ASGIApp, origins: list[str], routes: RouteTable) -> None:
        """Let pages of these origins ask `app`; `routes` know the form of errors."""
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", "X-Request-ID", "Content-Type"],
            expose_headers=["Retry-After", "Server-Timing", "X-Request-ID"],
        )
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a preflight that is to be refused; leave all else to Starlette."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            if "origin" in headers and "access-control-request-method" in headers:
                refused = self.preflight_response(headers)
                if refused.status_code >= 400:
                    what = bytes(refused.body).decode().removeprefix("Disallowed CORS ")
                    error = CrossOriginRefused(
                        f"pages of {headers['origin'][:_SHOWN]} may not ask this: {what}",
                        hint="PINNACE_CORS_ORIGINS names the origins that may; the methods are GET and POST",
                    )
                    response = error_response(error, form=self._routes.error_form(scope["path"]))
                    for name, value in refused.headers.items():
                        response.headers.setdefault(name, value)
                    await response(scope, receive, send)
                    return
        await super().__call__(scope, receive, send)
