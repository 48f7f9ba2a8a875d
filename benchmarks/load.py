"""A small HTTP load generator for the scripts here: open loop, one event loop, kept-alive connections.

Open loop: requests are sent at their times, whether or not the server has answered those before. What a
client that waits would not notice, a queue that grows, this one measures: latency counts from the time at
which a request was due.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

MOST_CONNECTIONS = 800

T = TypeVar("T")


@dataclass(frozen=True)
class Reply:
    """One answer, or none.

    Attributes:
        status: the HTTP status; 0 where the connection failed.
        seconds: from when the request was due to the whole answer.
        headers: in lower case.
        body: the bytes.
    """

    status: int
    seconds: float
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """The body, as data."""
        return json.loads(self.body)


def request_bytes(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A whole POST request."""
    given = {"Host": "localhost", "Content-Length": str(len(body)), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


class Connection(asyncio.Protocol):
    """One request at a time, and its answer; asyncio's streams would take more CPU from the server."""

    def __init__(self) -> None:
        """Not connected yet."""
        self.usable = False
        self._received = bytearray()
        self._head: tuple[int, dict[str, str]] | None = None
        self._body = slice(0)  # of what is received
        self._answer: asyncio.Future[tuple[int, dict[str, str], bytes]] | None = None

    def connection_made(self, transport: Any) -> None:
        """It may be used."""
        self._transport = transport
        self.usable = True

    def exchange(self, request: bytes) -> asyncio.Future[tuple[int, dict[str, str], bytes]]:
        """Send a request; the future has the status, the headers, in lower case, and the body."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """A part of an answer; one whose length is not given has no body."""
        self._received += data
        if self._head is None:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            lines = self._received[:end].decode("latin-1").split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
            self._head = int(lines[0].split()[1]), headers
            self._body = slice(end + 4, end + 4 + int(headers.get("content-length", 0)))
        if len(self._received) < self._body.stop:
            return
        status, headers = self._head
        body = bytes(self._received[self._body])
        self._received.clear()
        self._head = None
        if headers.get("connection") == "close":
            self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, headers, body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing will come any more."""
        self.usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or EOFError("the connection was closed"))

    def close(self) -> None:
        """Send nothing more."""
        self.usable = False
        self._transport.close()


class Target:
    """A server, and the connections to it that are open and idle."""

    def __init__(self, host: str, port: int, timeout: float = 60.0) -> None:
        """Remember where it is; `timeout` is how many seconds an answer may take."""
        self.host, self.port, self.timeout = host, port, timeout
        self._idle: deque[Connection] = deque()
        self._open = 0

    async def send(self, request: bytes, due: float | None = None) -> Reply:
        """Send a request and read the answer; what fails is status 0 and is not sent again."""
        due = time.perf_counter() if due is None else due
        try:
            status, headers, body = await self._exchange(request)
        except (OSError, EOFError, ValueError) as error:
            return Reply(0, time.perf_counter() - due, {}, type(error).__name__.encode())
        return Reply(status, time.perf_counter() - due, headers, body)

    async def _exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = self._usable()
        loop = asyncio.get_running_loop()
        if connection is None:
            if self._open >= MOST_CONNECTIONS:
                raise ConnectionError("too many connections are open here")
            self._open += 1
            try:
                _, connection = await loop.create_connection(Connection, self.host, self.port)
            except OSError:
                self._open -= 1
                raise
        timer = loop.call_later(self.timeout, connection.close)
        try:
            return await connection.exchange(request)
        finally:
            timer.cancel()
            if connection.usable:
                self._idle.append(connection)
            else:
                self._open -= 1
                connection.close()

    def _usable(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            self._open -= 1
        return None

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()


async def open_loop(
    target: Target, next_request: Callable[[], bytes], rate: float, seconds: float
) -> list[Reply]:
    """Send requests at a steady rate for some seconds, and wait for every answer.

    Args:
        target: the server.
        next_request: gives the next request.
        rate: requests a second.
        seconds: for how long they are sent.
    """
    tasks = []
    start = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = start + number / rate
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        elif number % 16 == 0:
            await asyncio.sleep(0)
        tasks.append(asyncio.ensure_future(target.send(next_request(), due)))
    return list(await asyncio.gather(*tasks))


async def closed_loop(
    target: Target, next_request: Callable[[], bytes], clients: int, seconds: float
) -> list[Reply]:
    """Let some clients ask one after the other, each as soon as it was answered, for some seconds."""
    end = time.perf_counter() + seconds

    async def client() -> list[Reply]:
        replies = []
        while time.perf_counter() < end:
            replies.append(await target.send(next_request()))
        return replies

    return [
        reply for replies in await asyncio.gather(*(client() for _ in range(clients))) for reply in replies
    ]


def run(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, with uvloop where it is installed: it takes less CPU from the server."""
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    return asyncio.run(work)


def percentile(values: list[float], percent: float) -> float:
    """The nearest-rank percentile; not a number where there are no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")


def statuses(replies: list[Reply]) -> dict[int, int]:
    """How often each status came."""
    return dict(sorted(Counter(reply.status for reply in replies).items()))
