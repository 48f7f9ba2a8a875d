"""Errors as HTTP answers: always `{"error": {"code", "message", "hint"}}`.

The errors of `pinnace.models.errors` carry their own status and code; here stand those that only HTTP knows.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pinnace.models.errors import PinnaceError


class MalformedBody(PinnaceError):
    """The body is not in the format that its content type names."""

    http_status = 400
    code = "malformed_body"


class UnknownModel(PinnaceError):
    """No model of that name is served."""

    http_status = 404
    code = "unknown_model"


class SlowRequest(PinnaceError):
    """The request did not arrive in time."""

    http_status = 408
    code = "request_timeout"


class LateAnswer(PinnaceError):
    """The answer was not ready in time."""

    http_status = 504
    code = "timeout"


def error_response(error: PinnaceError) -> JSONResponse:
    """The HTTP answer for an error; where it has no hint, what was expected is one."""
    body = error.http_body()
    if body["error"]["hint"] is None and error.expected is not None:
        body["error"]["hint"] = f"expected: {error.expected}"
    # What is left of a slow request would be read as long as it comes.
    headers = {"Connection": "close"} if isinstance(error, SlowRequest) else None
    return JSONResponse(body, error.http_status, headers)


def internal_error() -> JSONResponse:
    """The HTTP answer for an error that nobody foresaw; what happened stands in the log."""
    return error_response(
        PinnaceError("the server failed to answer", hint="the server's log says what happened")
    )


async def http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own errors (no such route, wrong method, not ready) in our form."""
    assert isinstance(error, HTTPException)
    try:
        code = HTTPStatus(error.status_code).name.lower()
    except ValueError:
        code = "http_error"
    hint = None
    if error.status_code == 404:
        message = f"there is nothing at {request.url.path}"
        hint = "the routes are listed at /docs.json"
    elif error.status_code == 405:
        message = f"{request.url.path} does not accept {request.method}"
        hint = f"use {', '.join(_allowed(error))}" if _allowed(error) else None
    else:
        message = error.detail
    body = {"error": {"code": code, "message": message, "hint": hint}}
    return JSONResponse(body, error.status_code, headers=error.headers)


def _allowed(error: HTTPException) -> list[str]:
    names = (error.headers or {}).get("Allow", "").split(",")
    return sorted(name.strip() for name in names if name.strip() not in ("", "HEAD"))
