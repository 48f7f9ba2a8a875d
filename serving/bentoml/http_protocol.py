"""uvicorn's HTTP protocol as RFC 9112 has it, with limits, deadlines and connection balancing."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pinnace.models.errors import PinnaceError
from pinnace.serving.bentoml.request_head import (
    check_head,
    check_size,
    head_without_upgrade,
    headers_too_large,
    with_path,
)
from pinnace.serving.errors import MalformedRequest, Overloaded, SlowRequest
from pinnace.serving.settings import ServerSettings
from pinnace.serving.workers.connection_balancing import ConnectionBalancer
from pinnace.serving.workers.connection_watch import (
    WATCH_PEER,
    ConnectionWatch,
    Phase,
    WatchedConnection,
)
from pinnace.serving.workers.load_shedding import LoadShedder

# How many requests may wait on one connection for the answer to the one before them.
_MOST_PIPELINED = 64

# A client that has sent all it has to say, and is not answered yet, is looked after from then on.
_SILENT_SECONDS = 0.5

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """One connection. What is wrong with it is said in one JSON error, after the answers that come before it.

    Attributes:
        may_hand_over: whether another worker may have it; what was given is kept.
        phase, since, received, answers, unsent_since, parting_since: as `WatchedConnection` has them.
    """

    may_hand_over = True
    settings: ClassVar[ServerSettings]
    balancer: ClassVar[ConnectionBalancer | None] = None
    shedder: ClassVar[LoadShedder | None] = None
    watch: ClassVar[ConnectionWatch | None] = None

    phase = Phase.BETWEEN
    received = 0
    answers = 0
    unsent_since: float | None = None
    parting_since: float | None = None
    _given = False
    _has_moved = False  # to another phase, in what has just come
    _is_deaf = False  # what comes from now on is thrown away
    _last_words: PinnaceError | None = None  # for when what came before is answered
    _offers_upgrade = False
    _active: Any = None  # the request that the application answers; `cycle` may be a later one
    _keep_alive: bool | None = None  # what holds once a body has come that was asked for with `Expect`
    _silent_since: float | None = None  # since the client has shut down its side
    _peer_is_asked = False
    _when_gone: Callable[[], None] | None = None

    @classmethod
    def has_idle_peer(cls) -> bool:
        """Whether another worker has nothing to do."""
        return cls.balancer is not None and cls.balancer.loads.has_idle_peer()

    @property
    def is_answering(self) -> bool:
        """Whether a request that has begun is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_paused(self) -> bool:
        """Whether nothing is read just now."""
        return self.flow.read_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, if there is room for it and no other worker has less to do."""
        self._given = self._give(transport)
        if self._given:
            self.transport = transport
            transport.abort()
            return
        super().connection_made(transport)
        self.since = self.loop.time()
        if self.watch is None:
            type(self).watch = ConnectionWatch(
                self.settings, cast("set[WatchedConnection]", self.connections), self.loop
            )
        assert self.watch is not None
        self.watch.start()
        if not self.watch.has_room(self.since):
            self._refuse(Overloaded(f"{self.settings.max_connections} connections are open"))
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report one connection less, unless it was handed over before it was counted."""
        if self._given:
            return
        self._give_up()
        super().connection_lost(exc)
        self._tell()

    def data_received(self, data: bytes) -> None:
        """Parse what has come, as long as it is not too long."""
        self.received += len(data)
        if self._is_deaf or self.transport.is_closing():
            if self.received > self._most_bytes():
                self.abort()
            return
        if self.phase == Phase.BETWEEN:
            self._enter(Phase.HEADERS)
        error = self._parse(data)
        limit = self.settings.max_header_bytes
        if error is None and self.phase == Phase.HEADERS and self.received > limit:
            error = headers_too_large(limit)
        elif error is None and self.received > self._most_bytes():
            # Chunks may bring more framing than content, and be followed by headers without end.
            error = MalformedRequest("the request does not end")
        if error is not None:
            self._refuse(error)
        if self._has_moved:
            self._has_moved = False
            self.since = self.loop.time()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer a request that is whole to a client that says no more; else end the connection."""
        if self.parting_since is None and self.phase != Phase.BETWEEN:
            self._refuse(MalformedRequest("the request is cut short", hint="send the whole of it"))
        if self.parting_since is not None or not self.is_answering or self.scheme == "https":
            return False
        self.cycle.keep_alive = False
        self._silent_since = self._silent_since or self.loop.time()
        return True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers, which follow a body in chunks, are dropped."""
        if self.phase != Phase.BODY:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin a request; where another worker is idle, close the connection after this response.

        Raises:
            PinnaceError: the head is not as it has to be; the parser hands that on.
        """
        parser = self.parser
        version = parser.get_http_version()
        if self.received > self.settings.max_header_bytes:
            check_size(self.url, self.headers, self.settings.max_header_bytes)
        check_head(version, self.headers)
        if parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                raise MalformedRequest("the server is not a proxy")
            self._offers_upgrade = True
            return
        if len(self.pipeline) >= _MOST_PIPELINED:
            raise Overloaded(f"{_MOST_PIPELINED} requests wait on this connection")
        if version == "1.0":
            self.expect_100_continue = False
        self.url = with_path(self.url)
        super().on_headers_complete()
        cycle = self.cycle
        if self.expect_100_continue:
            # A client that is answered without having been asked for the body may send it, or not.
            self._keep_alive, cycle.keep_alive = cycle.keep_alive, False
        self._enter(Phase.BODY)
        if self.balancer is not None:
            self.balancer.loads.set_requests(len(self.tasks))
            if len(self.tasks) > 1 and self.has_idle_peer():
                self._keep_alive = None
                cycle.keep_alive = False  # the client's next connection goes to a worker that is idle

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Let the application answer, unless the load shedder refuses the request here."""
        self._active = cycle
        cycle.scope[WATCH_PEER] = self._watch_peer
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
            self.part()
        cycle.on_response()

    def on_response_complete(self) -> None:
        """Go on with the next request, or with what is to be said at last."""
        self.answers += 1
        self.server_state.total_requests += 1
        if self.balancer is not None:
            self.balancer.loads.set_requests(len(self.tasks) - 1)
        if self.parting_since is not None or self.transport.is_closing():
            return
        if self.phase == Phase.BETWEEN or self.is_paused:
            self.since = self.loop.time()
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._last_words is not None:
            self._say(self._last_words)

    def on_message_complete(self) -> None:
        """Count and time the next request on this connection."""
        if self._offers_upgrade:
            return
        self.received = 0
        self._enter(Phase.BETWEEN)
        if self._keep_alive is not None:
            if not self.cycle.response_started:
                self.cycle.keep_alive = self._keep_alive
            self._keep_alive = None
        super().on_message_complete()

    def shutdown(self) -> None:
        """Close when the server ends, after the answers that are being made."""
        if self.parting_since is not None:
            self.transport.close()
        else:
            super().shutdown()

    def expire(self) -> None:
        """Say that the client is late, where there is something to say, and close."""
        if self.phase == Phase.HEADERS:
            seconds = self.settings.header_timeout
            self._refuse(SlowRequest(f"the headers did not arrive within {seconds:g} s"))
        elif self.phase == Phase.BODY and self.is_answering:
            seconds = self.settings.upload_timeout
            self._refuse(SlowRequest(f"the request did not arrive within {seconds:g} s"))
        else:
            self.transport.close()

    def abort(self) -> None:
        """Close at once, and make no more of what is not answered."""
        self.connections.discard(self)
        self._give_up()
        if self.transport.get_write_buffer_size():
            # The system would keep for minutes what the client has not taken.
            reset = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        self.transport.abort()

    def check_peer(self, now: float) -> None:
        """Stop the work for a client that has closed its side, and is not there to read either.

        Whether it is, only shows when it is sent something. That a request is being worked at may be said at
        any time (RFC 9110, 15.2).
        """
        if self._silent_since is None or now - self._silent_since < _SILENT_SECONDS:
            return
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), 0)
        if poll.poll(0):
            self.abort()
        elif self._may_ask_peer():
            self._peer_is_asked = True
            self.transport.write(_CONTINUE)

    def _may_ask_peer(self) -> bool:
        if self._peer_is_asked or self._active.response_started:
            return False
        return bool(self._active.scope["http_version"] == "1.1")

    def part(self) -> None:
        """End a connection on which more may come: close our side, and wait for the client to close its own.

        Closed outright, the system would answer what still comes with a reset, and that may reach the client
        before it has read what was answered (RFC 9112, 9.6).
        """
        if self.parting_since is not None or self.transport.is_closing():
            return
        if self._silent_since is not None or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.parting_since = self.loop.time()
        self._is_deaf = True
        self.flow.resume_reading()
        self.transport.write_eof()

    def _parse(self, data: bytes) -> PinnaceError | None:
        """Give the parser what has come; what is wrong with it, if anything is."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._offers_upgrade = False
            head = head_without_upgrade(
                self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers
            )
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            return self._parse(head + data[offer.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, PinnaceError):
                return cause
            hint = None if isinstance(error, httptools.HttpParserCallbackError) else str(error) or None
            return MalformedRequest("the request is not HTTP/1.1", hint=hint)
        cycle: Any = self.cycle
        if self.phase == Phase.BODY and not cycle.response_complete and cycle.transport is self.transport:
            cycle.transport = _PartingTransport(self)
        return None

    def _give_up(self) -> None:
        """Tell the application that nobody is there for the answer; uvicorn tells the last request only."""
        self.pipeline.clear()
        if self._active is not None and not self._active.response_complete:
            self._active.disconnected = True
            self._active.message_event.set()
            if self._when_gone is not None:
                self._when_gone()

    def _watch_peer(self, call: Callable[[], None] | None) -> None:
        """Call once the client of the request that is answered is gone; forget to, for None."""
        self._when_gone = call
        if call is not None:
            self.flow.resume_reading()  # else nobody notices that it goes
            if self._active.disconnected:
                call()

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._has_moved = True

    def _most_bytes(self) -> int:
        return self.settings.max_header_bytes + 2 * self.settings.max_batch_bytes

    def _give(self, transport: asyncio.Transport) -> bool:
        """Give a new connection to another worker, if one has less to do."""
        if self.balancer is None or not self.may_hand_over:
            return False
        descriptor = transport.get_extra_info("socket").fileno()
        return self.balancer.hand_over(descriptor, len(self.connections) + 1, len(self.tasks))

    def _tell(self) -> None:
        if self.balancer is not None:
            self.balancer.loads.set_connections(len(self.connections))

    def _refuse(self, error: PinnaceError) -> None:
        """Answer the message that is coming in with an error, in its turn, and then close the connection."""
        if self._is_deaf or self.transport.is_closing():
            return
        self._is_deaf = True
        cycle: Any = self.cycle
        if self.phase == Phase.BODY:  # the message is the one that `cycle` answers
            if self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()
                self._last_words = error
                return
            self._give_up()
            if cycle.response_started:
                self.part()
                return
        elif self.is_answering:
            self._last_words = error
            return
        self._say(error)

    def _say(self, error: PinnaceError) -> None:
        body = json.dumps(error.http_body()).encode() + b"\n"
        lines = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if isinstance(error, Overloaded):
            lines.append((b"retry-after", b"%d" % error.retry_after))
        self.transport.write(_message(error.http_status, lines, body))
        self.part()


class _PartingTransport:
    """Where a request is answered whose body still comes: closed, it lets the client read first."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing
        self.close = protocol.part


def _message(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """The bytes of a whole response, for answers that the application does not make."""
    head = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"%s%s\r\n%s" % (STATUS_LINE[status], head, body)
