"""An end to answers that drip: httpx bounds each silence of a server, and not how many there are.

Both clients put these streams below httpx. The time of an answer runs from the last byte of its request.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore
import httpx

TOO_LATE = "the answer did not end in time"


def bound_answers(client: httpx.Client | httpx.AsyncClient, seconds: float) -> None:
    """Let each answer to a client end within some seconds of its request.

    What comes later is an `httpx.ReadTimeout` that says `TOO_LATE`.
    """
    wrap = _AsyncBackend if isinstance(client, httpx.AsyncClient) else _Backend
    for transport in (client._transport, *client._mounts.values()):
        pool: Any = getattr(transport, "_pool", None)  # of the connections; httpx has no public place for it
        if pool is not None:
            pool._network_backend = wrap(pool._network_backend, seconds)


class _Clock:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = float("inf")

    def start(self) -> None:
        self._end = time.monotonic() + self.seconds

    def wait(self, silence: float | None) -> float | None:
        """How long to wait for the next bytes."""
        left = self._end - time.monotonic()
        if left <= 0:  # no wait at all would still take what is there
            raise httpcore.ReadTimeout(TOO_LATE)
        return left if silence is None else min(left, silence)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Say of a timeout that it was the answer's, where it was."""
        try:
            yield
        except httpcore.ReadTimeout:
            if time.monotonic() < self._end:
                raise
            raise httpcore.ReadTimeout(TOO_LATE) from None


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, seconds: float) -> None:
        self._stream = stream
        self._clock = _Clock(seconds)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._clock.reading():
            return self._stream.read(max_bytes, self._clock.wait(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)
        self._clock.start()

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._clock.seconds)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend, seconds: float) -> None:
        self._backend = backend
        self._seconds = seconds

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(stream, self._seconds)

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _AsyncStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, seconds: float) -> None:
        self._stream = stream
        self._clock = _Clock(seconds)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._clock.reading():
            return await self._stream.read(max_bytes, self._clock.wait(timeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)
        self._clock.start()

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _AsyncStream(stream, self._clock.seconds)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _AsyncBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, backend: httpcore.AsyncNetworkBackend, seconds: float) -> None:
        self._backend = backend
        self._seconds = seconds

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _AsyncStream(stream, self._seconds)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)
