"""The subject that asks a server over HTTP: one request for each image, on connections that stay open."""

from __future__ import annotations

import http.client
import json
import statistics
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from pinnace.latency.result_parts import Stages
from pinnace.latency.subjects.base import SubjectInfo
from pinnace.models.errors import ServerError, UsageError, without_number
from pinnace.models.photographs import photographs
from pinnace.models.variant_name import VariantName

# Most requests in flight; further ones wait in this process, and their wait counts as latency.
MOST_CONNECTIONS = 512
OFFLINE_CONNECTIONS = 16
TIMEOUT_S = 60.0
_STAGES_FROM = 2000
_REFUSED = 422


class HttpSubject:
    """Posts photographs to `/classify`, or to `/embed` for a model that embeds. Nothing is sent again."""

    batch = 1

    def __init__(self, url: str, api_key: str | None = None, *, at_once: int = MOST_CONNECTIONS) -> None:
        """Send one request, to learn which model answers.

        Raises:
            UsageError: the URL is not one.
            ServerError: there is no answer, or what answers is not a Pinnace server.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url} is not a server's URL", expected="such as http://localhost:3000")
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = parts.hostname, parts.port
        root = parts.path.rstrip("/")
        self._path = f"{root}/classify"
        self._headers = {"Content-Type": "image/jpeg"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._url = url
        self._own = threading.local()
        self._open: list[http.client.HTTPConnection] = []
        self._bodies: list[bytes] = []
        self._images = [photograph.read_bytes() for photograph in photographs()]
        self.library, self.at_once = len(self._images), at_once
        status, body = self._send(self._images[0])
        if status == _REFUSED:  # a network without a head does not classify
            self._path = f"{root}/embed"
            status, body = self._send(self._images[0])
        answer = self._answer(self._answered(status, body))
        variant = str(answer.get("variant", ""))
        self.info = SubjectInfo(
            model=str(answer.get("model", "")),
            source=url,
            variant=variant,
            runtime=str(answer.get("runtime", "")),
            provider="",
            precision=VariantName.parse(variant).precision if "-" in variant else "",
            device="remote",
            threads=None,
            timed="http",
            input={},
        )

    def call(self, indices: Sequence[int]) -> None:
        """Send one request for each of these images, one after the other.

        Raises:
            ServerError: there is no answer, or it is an error.
        """
        for index in indices:
            self._bodies.append(self._answered(*self._send(self._images[index])))

    def _send(self, image: bytes) -> tuple[int, bytes]:
        connection = getattr(self._own, "connection", None)
        used = connection is not None
        if connection is None:
            connection = self._connect()
        try:
            try:
                connection.request("POST", self._path, image, self._headers)
                response = connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                if not used:
                    raise
                connection.close()  # the server had closed the idle connection
                connection.request("POST", self._path, image, self._headers)
                response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            reason = without_number(str(error)) or type(error).__name__
            raise ServerError(
                f"{self._url} does not answer: {reason}",
                hint="check that the server is running; `pinnace serve BUNDLE` starts one",
            ) from None
        return response.status, body

    def _answered(self, status: int, body: bytes) -> bytes:
        if status != 200:
            raise ServerError(f"{self._url} answered with status {status}")
        return body

    def _connect(self) -> http.client.HTTPConnection:
        connection = self._kind(self._host, self._port, timeout=TIMEOUT_S)
        self._own.connection = connection
        self._open.append(connection)
        return connection

    def _answer(self, body: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ServerError(f"{self._url} answers, but it is not a Pinnace server")
        return answer

    def stages(self) -> Stages:
        """Medians of the timings in the last answers, which the server measured."""
        bodies, self._bodies = self._bodies[-_STAGES_FROM:], []
        timings = [self._answer(body).get("timing_ms") for body in bodies]
        known = [timing for timing in timings if isinstance(timing, dict)]

        def median(name: str) -> float | None:
            values = [timing[name] for timing in known if isinstance(timing.get(name), int | float)]
            return statistics.median(values) if values else None

        return Stages(decode=median("decode"), preprocess=median("preprocess"), compute=median("infer"))

    def close(self) -> None:
        """Close the connections."""
        for connection in self._open:
            connection.close()
