"""Every request has an id, which the log and the answer name; and a line in the log, where that is wanted."""

from __future__ import annotations

import json
import logging
import os
import random
import re
import sys
import time
from collections.abc import Awaitable
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pinnace.models.printable import printable
from pinnace.serving.routes import RouteTable

HEADER = "X-Request-ID"
FACTS = "pinnace.facts"

_HEADER = HEADER.lower().encode()
_LONGEST_ID = 128

# Ids are names and not secrets, and a call of the system for each would cost more than all else here.
_random = random.Random()
os.register_at_fork(after_in_child=_random.seed)  # or all workers would give the same ids

_NOT_OF_AN_ID = re.compile(r"[^A-Za-z0-9._:/+=@-]")
_LONGEST_PATH = 500

_id: ContextVar[str] = ContextVar("pinnace_request_id", default="")

access = logging.getLogger("pinnace.access")


class RequestLog:
    """Middleware that gives a request its id and, where that is wanted, writes a line when it is answered."""

    def __init__(self, app: ASGIApp, lines: bool, routes: RouteTable) -> None:
        """Name what `app` answers; write `lines`, or not, of the `routes` that are logged."""
        self._app = app
        self._routes = routes
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with an id, and log it when it is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = _clean(scope) or new_request_id()
        _id.set(name)
        facts: dict[str, Any] = {}
        if self._lines:
            scope[FACTS] = facts
        status, size = 0, 0
        started = time.perf_counter()

        def named(message: Message) -> Awaitable[None]:  # one coroutine less for each message
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (_HEADER, name.encode())]
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            return send(message)

        try:
            await self._app(scope, receive, named)
        finally:
            if self._lines and self._routes.is_logged(scope["path"]):
                milliseconds = 1000 * (time.perf_counter() - started)
                times = {"status": status, "duration_ms": round(milliseconds, 3), "bytes": size}
                _write_line(scope, self._routes.label(scope["path"]), {**times, **facts})


def new_request_id() -> str:
    """A random id, for a request that brings none."""
    return f"{_random.getrandbits(64):016x}"


def current_request_id() -> str:
    """The id of the request that is being answered; empty where there is none."""
    return _id.get()


def add_log_fields(scope: Scope, **facts: Any) -> None:
    """Add fields to the log line of a request, if it has one."""
    if FACTS in scope:
        scope[FACTS].update(facts)


def _clean(scope: Scope) -> str:
    """The id that the client gives, without what could be anything but an id."""
    for name, value in scope["headers"]:
        if name == _HEADER:
            return _NOT_OF_AN_ID.sub("", value[: 4 * _LONGEST_ID].decode("latin-1"))[:_LONGEST_ID]
    return ""


def _write_line(scope: Scope, route: str, facts: dict[str, Any]) -> None:
    method, path = scope["method"], scope["path"][:_LONGEST_PATH]
    client = scope.get("client")
    fields = {
        "client": client and client[0],
        "method": method,
        "path": path,
        "route": route,
    }
    access.info("%s %s %d", method, path, facts["status"], extra={"fields": {**fields, **facts}})


class JsonFormatter(logging.Formatter):
    """A line of the log as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if _id.get():
            line["request_id"] = _id.get()
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _TextFilter(logging.Filter):
    """Appends the request's id to a line of text, and takes out what is not fit for a terminal."""

    def filter(self, record: logging.LogRecord) -> bool:
        if hasattr(record, "pinnace_text"):
            return True
        if isinstance(record.args, tuple):  # a path with a line feed would write a line of its own
            record.args = tuple(printable(arg) if isinstance(arg, str) else arg for arg in record.args)
        text = printable(record.getMessage(), keep="\n\t")
        name = _id.get()
        record.__dict__["pinnace_text"] = record.msg = f"{text} [request {name}]" if name else text
        record.args = ()
        if record.exc_info:
            record.exc_text = printable(_PLAIN.formatException(record.exc_info), keep="\n\t")
        return True


_PLAIN = logging.Formatter()


def configure_logging(handlers: list[logging.Handler], *, lines: bool) -> None:
    """Make handlers write the id of the request and, where each request has a line, write JSON."""
    for handler in handlers:
        if lines:
            handler.setFormatter(JsonFormatter())
        else:
            handler.addFilter(_TextFilter())
    if lines:
        own = logging.StreamHandler(sys.stderr)
        own.setFormatter(JsonFormatter())
        access.handlers = [own]
        access.setLevel(logging.INFO)
        access.propagate = False
