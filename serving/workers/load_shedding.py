"""Load shedding: while the server is full, requests are refused by the protocol, before the application runs.

Clients may ask far more of a server than it can do, and the time that refusals take is missing to the
requests that were let in. So while it is full, the routes that are marked `fast` are answered here with what
the application would answer, in two thirds of the time. A request with an unusual header, or with a body
that is too long or of unknown length, is left to the application.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from starlette.responses import Response
from starlette.types import Scope

from pinnace.serving.errors import Overloaded, error_response
from pinnace.serving.inference.admission import Admission
from pinnace.serving.observability.request_log import HEADER, new_request_id

# What of a request the application would look at before it refuses it, or answers to.
_OUT_OF_THE_ORDINARY = frozenset((b"transfer-encoding", b"expect", HEADER.lower().encode()))


class LoadShedder:
    """Decides which requests are refused by the protocol, and makes the response."""

    def __init__(
        self,
        admission: Admission,
        paths: Collection[str],
        max_body_bytes: int,
        count: Callable[[str, int, float], None],
        elsewhere: Callable[[], bool] = lambda: False,
    ) -> None:
        """Refuse what `admission` would refuse.

        Args:
            admission: who is let in.
            paths: whose POST requests are refused here.
            max_body_bytes: a longer body is out of the ordinary.
            count: called for each refusal with the path, the status and the seconds it took.
            elsewhere: whether another worker is idle: the application's answer sends the client there.
        """
        self._admission = admission
        self._paths = frozenset(paths)
        self._max_body_bytes = max_body_bytes
        self._count = count
        self._elsewhere = elsewhere

    def __call__(self, scope: Scope) -> Response | None:
        """The answer to a request that is refused; None for the application to answer."""
        if scope["path"] not in self._paths or scope["method"] != "POST":
            return None
        started = time.perf_counter()
        try:
            self._admission.check()
        except Overloaded as error:
            if self._elsewhere() or not self._is_ordinary(scope):
                return None
            response = error_response(error)
            response.headers[HEADER] = new_request_id()
            self._count(scope["path"], response.status_code, time.perf_counter() - started)
            return response
        return None

    def _is_ordinary(self, scope: Scope) -> bool:
        length = None
        for name, value in scope["headers"]:
            if name in _OUT_OF_THE_ORDINARY:
                return False
            if name == b"content-length":
                length = int(value)
        return length is not None and length <= self._max_body_bytes
