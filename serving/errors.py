"""Errors as HTTP answers: always `{"error": {"code", "message", "hint"}}`, but for `/v2`.

The errors of `pinnace.models.errors` carry their own status and code; here stand those that only HTTP knows.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pinnace.models.errors import PinnaceError
from pinnace.models.printable import printable
from pinnace.serving.json_line import JsonLine

ErrorData: TypeAlias = dict[str, dict[str, str | None]]
ErrorForm: TypeAlias = Callable[[ErrorData], dict[str, Any]]


class MalformedBody(PinnaceError):
    """The body is not in the format that its content type names."""

    http_status = 400
    code = "malformed_body"


class MalformedRequest(PinnaceError):
    """The request is not valid HTTP."""

    http_status = 400
    code = "malformed_request"


class HeadersTooLarge(PinnaceError):
    """The request line and headers are longer than the limit allows."""

    http_status = 431
    code = "headers_too_large"


class UnknownModel(PinnaceError):
    """No model of that name is served."""

    http_status = 404
    code = "unknown_model"


class NotEnabled(PinnaceError):
    """The server could do this, and its settings do not let it."""

    http_status = 404
    code = "not_enabled"


class UnknownVersion(PinnaceError):
    """The model is served, and another version of it."""

    http_status = 404
    code = "unknown_version"


class ReloadFailed(PinnaceError):
    """A bundle on disk is not fit to take the place of the one that answers."""

    http_status = 409
    code = "reload_failed"


class UnsupportedEncoding(PinnaceError):
    """The body is compressed."""

    http_status = 415
    code = "unsupported_encoding"


class BatchTooLarge(PinnaceError):
    """The batch has more images than the limit allows."""

    http_status = 413
    code = "batch_too_large"


class CrossOriginRefused(PinnaceError):
    """The page of another origin may not ask what its browser asks for it in advance."""

    http_status = 400
    code = "cross_origin_refused"


class Unauthorized(PinnaceError):
    """The request brings no API key, or another one."""

    http_status = 401
    code = "unauthorized"


class SlowRequest(PinnaceError):
    """The request did not arrive in time."""

    http_status = 408
    code = "request_timeout"


class Overloaded(PinnaceError):
    """The server is full; a later request may be accepted."""

    http_status = 503
    code = "overloaded"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        """`retry_after`: whole seconds after which there may be room."""
        super().__init__(message, hint=f"try again in {retry_after} s")
        self.retry_after = retry_after


class LateAnswer(PinnaceError):
    """The answer was not ready in time."""

    http_status = 504
    code = "timeout"


def error_data(error: PinnaceError) -> ErrorData:
    """The body of the HTTP answer for an error; where it has no hint, what was expected is one.

    It may quote a text of the request that is none in UTF-8, half of a surrogate pair, which JSON can hold.
    """
    body = error.http_body()
    if body["error"]["hint"] is None and error.expected is not None:
        body["error"]["hint"] = f"expected: {error.expected}"
    fields = body["error"].items()
    return {"error": {name: text and printable(text, keep="\n") for name, text in fields}}


def error_response(error: PinnaceError, *, close: bool = False, form: ErrorForm | None = None) -> JsonLine:
    """The HTTP answer for an error.

    Args:
        error: what went wrong.
        close: end the connection: what is left of the request would be read as long as it comes.
        form: makes the body, where the path that was asked for has another form of errors.
    """
    headers = {}
    if close:
        headers["Connection"] = "close"
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    data = error_data(error)
    return JsonLine(data if form is None else form(data), error.http_status, headers)


def internal_error() -> PinnaceError:
    """The error that a client gets for an unexpected exception; the log has the details."""
    return PinnaceError("the server failed to answer", hint="the server's log says what happened")


def http_error_response(request: Request, error: HTTPException, form: ErrorForm) -> JsonLine:
    """Starlette's own errors (no such route, wrong method, not ready) as errors of ours."""
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
    body: ErrorData = {"error": {"code": code, "message": message, "hint": hint}}
    return JsonLine(form(body), error.status_code, headers=error.headers)


def _allowed(error: HTTPException) -> list[str]:
    names = (error.headers or {}).get("Allow", "").split(",")
    return sorted(name.strip() for name in names if name.strip() not in ("", "HEAD"))
