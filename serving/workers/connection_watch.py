"""Every connection of a worker is looked at a few times a second: what is late is closed, whatever it does.

A client may be slow at any point: before it says anything, in the headers, in the body, after an answer that
came before the body was whole, while it reads, between two requests. Each of these has a deadline that holds
for its whole length, so a byte now and then gains nothing. And where as many connections are open as may be,
those that are idle or slow make room for a new one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Set
from enum import IntEnum
from typing import Protocol, TypeAlias

from pinnace.serving.settings import ServerSettings

logger = logging.getLogger("pinnace.serving")

# In the scope of a request: what calls once its client is gone, or forgets to, given None.
WATCH_PEER = "pinnace.watch_peer"
WatchPeer: TypeAlias = Callable[["Callable[[], None] | None"], None]

# A client that is told to go has so long to read why, while what it still sends is thrown away.
_LINGER_SECONDS = 10.0
# The application says itself that a body is late, with the form of its route; this is for where it does not.
_BODY_GRACE_SECONDS = 1.0
# After so long, one who has sent half of a head, or a few bytes of a body, makes room for others.
_PATIENCE_SECONDS = 1.0
_SLOW_BYTES_PER_SECOND = 1000
_LONGEST_PAUSE_SECONDS = 0.5
_RANKING_SECONDS = 0.02


class Phase(IntEnum):
    """What of a message is expected next on a connection."""

    BETWEEN = 0
    HEADERS = 1
    BODY = 2


class WatchedConnection(Protocol):
    """What is known of a connection.

    Attributes:
        transport: where its bytes go.
        phase: what is expected next.
        since: when that phase began, by the clock of the event loop.
        received: bytes of the message that is coming in.
        answers: how many it has been given.
        unsent_since: when the watch first saw bytes that the client had not taken, unless it has since.
        parting_since: when it was told to go, if it was.
    """

    transport: asyncio.Transport
    phase: Phase
    since: float
    received: int
    answers: int
    unsent_since: float | None
    parting_since: float | None

    @property
    def is_answering(self) -> bool:
        """Whether a request that has begun is not answered yet."""

    @property
    def is_paused(self) -> bool:
        """Whether it is we who do not read."""

    def expire(self) -> None:
        """Say that the client is late, where that can be said, and close."""

    def abort(self) -> None:
        """Close at once."""

    def check_peer(self, now: float) -> None:
        """Look whether the client, which says no more, is still there to read."""


class ConnectionWatch:
    """The deadlines of the connections of one worker."""

    def __init__(
        self, settings: ServerSettings, connections: Set[WatchedConnection], loop: asyncio.AbstractEventLoop
    ) -> None:
        """Watch `connections`, which others fill, from the first call of `start`."""
        self._connections = connections
        self._loop = loop
        self._limits = {
            Phase.BETWEEN: settings.idle_timeout,
            Phase.HEADERS: settings.header_timeout,
            Phase.BODY: settings.upload_timeout + _BODY_GRACE_SECONDS,
        }
        self._first = settings.header_timeout
        self._write = settings.write_timeout
        self._linger = min(_LINGER_SECONDS, settings.upload_timeout)
        self._most = settings.max_connections
        shortest = min(self._write, *self._limits.values())
        self._pause = min(_LONGEST_PAUSE_SECONDS, shortest / 4)
        self._running = False
        self._leaving: list[WatchedConnection] = []  # the first to go is the last
        self._ranked_at = -_RANKING_SECONDS

    def start(self) -> None:
        """Look at the connections from now on, as long as there are any."""
        if not self._running:
            self._running = True
            self._loop.call_later(self._pause, self._look)

    def has_room(self, now: float) -> bool:
        """Whether there is room for a connection that is counted already; others may be closed for it."""
        while len(self._connections) > self._most:
            leaving = self._next_to_leave(now)
            if leaving is None:
                return False
            leaving.abort()
        return True

    def _next_to_leave(self, now: float) -> WatchedConnection | None:
        # To look through all of them for each of thousands that come in a second would cost too much.
        for again in (False, True):
            while self._leaving:
                one = self._leaving.pop()
                if one in self._connections and self._rank(one, now) is not None:
                    return one
            if again or now < self._ranked_at + _RANKING_SECONDS:
                return None
            self._ranked_at = now
            ranks = ((self._rank(one, now), one.since, one) for one in self._connections)
            found = [(rank, since, one) for rank, since, one in ranks if rank is not None]
            found.sort(key=lambda entry: entry[:2], reverse=True)
            self._leaving = [one for *_, one in found]
        return None

    def _look(self) -> None:
        now = self._loop.time()
        for one in list(self._connections):
            try:
                self._look_at(one, now)
            except Exception:  # of one connection; the others are watched all the same
                logger.exception("a connection could not be watched")
                one.abort()
        self._running = bool(self._connections)
        if self._running:
            self._loop.call_later(self._pause, self._look)

    def _look_at(self, one: WatchedConnection, now: float) -> None:
        if not one.transport.get_write_buffer_size():
            one.unsent_since = None
        elif one.unsent_since is None:
            one.unsent_since = now
        elif now - one.unsent_since > self._write:
            one.abort()
            return
        if one.parting_since is not None:
            if now - one.parting_since > self._linger:
                one.abort()
        elif one.transport.is_closing():
            return
        elif one.phase == Phase.BETWEEN and one.is_answering:
            one.check_peer(now)
        elif not one.is_paused and now - one.since > self._limit(one):
            one.expire()

    def _limit(self, one: WatchedConnection) -> float:
        if one.phase == Phase.BETWEEN and not one.answers:
            return self._first
        return self._limits[one.phase]

    def _rank(self, one: WatchedConnection, now: float) -> int | None:
        """In which order connections make room; None where one may stay."""
        waited = now - one.since
        if one.parting_since is not None or one.transport.is_closing():
            return 0
        if one.phase == Phase.BETWEEN and not one.is_answering:
            return 1 if one.answers or waited > _PATIENCE_SECONDS else None
        if one.phase == Phase.BODY and not one.is_answering:
            return 2
        if one.unsent_since is not None and now - one.unsent_since > _PATIENCE_SECONDS:
            return 3
        if one.phase == Phase.BETWEEN or waited < _PATIENCE_SECONDS or one.is_paused:
            return None
        is_slow = one.phase == Phase.HEADERS or one.received < _SLOW_BYTES_PER_SECOND * waited
        return 4 if is_slow else None
