"""uvicorn's HTTP protocol with limits on headers and connections, and with connection balancing."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import uvicorn
import uvicorn.config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pinnace.models.errors import PinnaceError
from pinnace.serving.errors import HeadersTooLarge, MalformedRequest, Overloaded, SlowRequest
from pinnace.serving.settings import ServerSettings
from pinnace.serving.workers.connection_balancing import ConnectionBalancer, WorkerLoads
from pinnace.serving.workers.load_shedding import LoadShedder

logger = logging.getLogger("pinnace.serving")


def use_bounded_protocol(settings: ServerSettings) -> None:
    """Let uvicorn in this process speak HTTP within these settings."""
    BoundedProtocol.settings = settings
    uvicorn.config.HTTP_PROTOCOLS["auto"] = "pinnace.serving.bentoml.http_protocol:BoundedProtocol"


def share_connections(folder: Path, workers: int, on_shared: Callable[[WorkerLoads], None]) -> None:
    """Let the server of this process share its connections with those of the folder, once it has started.

    Args:
        folder: what the workers of one server share.
        workers: how many there are.
        on_shared: called with what they tell each other, once this one takes part.
    """
    startup = uvicorn.Server.startup

    async def started(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        await startup(server, sockets)

        def protocol() -> BoundedProtocol:
            made = BoundedProtocol(server.config, server.server_state, server.lifespan.state)
            made.may_hand_over = False
            return made

        def requests() -> int:
            return len(server.server_state.tasks)

        if server.config.ssl is not None:  # what is encrypted cannot be handed on
            return
        try:
            BoundedProtocol.balancer = ConnectionBalancer(folder, workers, protocol, requests)
        except OSError:
            logger.warning("connections are not shared out over the workers", exc_info=True)
            return
        on_shared(BoundedProtocol.balancer.loads)

    uvicorn.Server.startup = started  # type: ignore[method-assign, assignment]


class BoundedProtocol(HttpToolsProtocol):
    """One connection: it is answered with an error and closed where its headers are too long or too late.

    Attributes:
        may_hand_over: whether another worker may have it; what was given is kept.
    """

    may_hand_over = True
    settings: ClassVar[ServerSettings]
    balancer: ClassVar[ConnectionBalancer | None] = None
    shedder: ClassVar[LoadShedder | None] = None

    @classmethod
    def has_idle_peer(cls) -> bool:
        """Whether another worker has nothing to do."""
        return cls.balancer is not None and cls.balancer.loads.has_idle_peer()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, if there is room for it and no other worker has less to do."""
        self._given = self._give(transport)
        if self._given:
            self.transport = transport
            transport.abort()
            return
        super().connection_made(transport)
        self._tell()
        self._bytes = 0  # of the message that is coming in
        self._in_headers = True
        self._timer: asyncio.TimerHandle | None = None
        if len(self.connections) > self.settings.max_connections:
            self._refuse(Overloaded(f"{self.settings.max_connections} connections are open"))
        else:
            self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report one connection less, unless it was handed over before it was counted."""
        if self._given:
            return
        self._cancel_timer()
        super().connection_lost(exc)
        self._tell()

    def data_received(self, data: bytes) -> None:
        """Parse what has come, as long as it is not too long."""
        if self.transport.is_closing():
            return
        self._bytes += len(data)
        if self._in_headers and self._timer is None:
            self._wait_for_headers()
        super().data_received(data)
        limit = self.settings.max_header_bytes
        if self._in_headers and self._bytes > limit:
            self._refuse(HeadersTooLarge(f"the headers are longer than {limit} bytes"))
        elif self._bytes > limit + 2 * self.settings.max_batch_bytes:
            # Chunks may bring more framing than content, and be followed by headers without end.
            self._refuse(MalformedRequest("the request does not end"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers, which follow a body in chunks, are dropped."""
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop the timer; where another worker is idle, close the connection after this response."""
        self._in_headers = False
        self._cancel_timer()
        super().on_headers_complete()
        if self.balancer is not None:
            self.balancer.loads.set_requests(len(self.tasks))
            if len(self.tasks) > 1 and self.has_idle_peer():
                self.cycle.keep_alive = False  # the client's next connection goes to a worker that is idle

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Let the application answer, unless the load shedder refuses the request here."""
        refusal = self.shedder(cycle.scope) if self.shedder is not None else None
        if refusal is None:
            super()._start_asgi_task(cycle, app)
            return
        lines = [*cycle.default_headers, *refusal.raw_headers]
        if not cycle.keep_alive:
            lines.append((b"connection", b"close"))
        self.transport.write(_message(refusal.status_code, lines, bytes(refusal.body)))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def on_response_complete(self) -> None:
        """Report the number of requests in progress: the answer is written, and its task is about to end."""
        super().on_response_complete()
        if self.balancer is not None:
            self.balancer.loads.set_requests(len(self.tasks) - 1)

    def on_message_complete(self) -> None:
        """Begin to count and time the headers of the next request on this connection."""
        self._in_headers = True
        self._bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not valid HTTP with one of our JSON errors."""
        self._refuse(MalformedRequest("the request is not HTTP/1.1"))

    def _give(self, transport: asyncio.Transport) -> bool:
        """Give a new connection to another worker, if one has less to do."""
        if self.balancer is None or not self.may_hand_over:
            return False
        descriptor = transport.get_extra_info("socket").fileno()
        return self.balancer.hand_over(descriptor, len(self.connections) + 1, len(self.tasks))

    def _tell(self) -> None:
        if self.balancer is not None:
            self.balancer.loads.set_connections(len(self.connections))

    def _wait_for_headers(self) -> None:
        self._timer = self.loop.call_later(self.settings.header_timeout, self._late)

    def _late(self) -> None:
        self._timer = None
        if not self._bytes:
            self.transport.close()
        elif self._in_headers:
            self._refuse(SlowRequest(f"the headers did not arrive within {self.settings.header_timeout:g} s"))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, error: PinnaceError) -> None:
        """Write an error as the response, without the application, and close the connection."""
        self._cancel_timer()
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            body = json.dumps(error.http_body()).encode()
            lines = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            if isinstance(error, Overloaded):
                lines.append((b"retry-after", b"%d" % error.retry_after))
            lines.append((b"connection", b"close"))
            self.transport.write(_message(error.http_status, lines, body))
        self.transport.close()


def _message(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """The bytes of a whole response, for answers that the application does not make."""
    head = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"%s%s\r\n%s" % (STATUS_LINE[status], head, body)
