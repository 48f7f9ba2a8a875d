"""Connections are shared out: the worker that accepts one hands it to the worker that has the least to do.

All workers accept from one socket, and the system wakes whichever it likes. With connections that are kept
alive one of two workers may have all of them for good, while the other has nothing to do. So each writes what
it has to do into memory that all share, and a connection that another should have is sent to it, before
anything was read.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import fcntl
import mmap
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from pinnace.serving.observability.shared_memory import allocate

# A worker that has not moved for so long is not given anything.
_DEAD_SECONDS = 3.0
_BEAT_SECONDS = 0.5

# A worker that has had nothing to do for so long is worth a new connection to the client of a busy one.
_IDLE_SECONDS = 0.1

# A worker has not yet taken what it was given, as Linux and as macOS say it.
_FULL = (errno.EAGAIN, errno.ENOBUFS)

_FILE = "loads"
_PID, _CONNECTIONS, _REQUESTS, _SINCE, _BEAT, _IMAGES = range(6)
_COLUMNS = 6
_SPARE_ROWS = 4


@dataclass(frozen=True)
class WorkerLoad:
    """What one worker has to do.

    Attributes:
        pid: its process.
        connections: those that are open.
        requests: those in progress.
        since: when that number last changed, in nanoseconds of the monotonic clock.
    """

    pid: int
    connections: int
    requests: int
    since: int

    @property
    def total(self) -> int:
        """A connection at work counts as two that only might be."""
        return self.connections + self.requests


class WorkerLoads:
    """A row of numbers for each worker, in a file that all of them map."""

    def __init__(self, folder: Path, workers: int) -> None:
        """Map the file, and take a row that is free, or whose worker is dead."""
        rows = 2 * workers + _SPARE_ROWS
        size = rows * _COLUMNS * 8
        with (folder / _FILE).open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            allocate(file.fileno(), size)
            self._numbers = memoryview(mmap.mmap(file.fileno(), size)).cast("q")
            pids = self._numbers.tolist()[_PID::_COLUMNS]
            free = (row for row, pid in enumerate(pids) if not pid or not psutil.pid_exists(pid))
            self._own = next(free, 0) * _COLUMNS
            for column in range(_COLUMNS):
                self._numbers[self._own + column] = 0
            self.heartbeat()
            self._numbers[self._own + _PID] = os.getpid()
            self._rows = range(0, rows * _COLUMNS, _COLUMNS)
            fcntl.flock(file, fcntl.LOCK_UN)  # the map keeps the file open

    def heartbeat(self) -> None:
        """Publish that this worker is alive."""
        self._numbers[self._own + _BEAT] = time.monotonic_ns()

    def set_connections(self, count: int) -> None:
        """Publish how many connections this worker has."""
        self._numbers[self._own + _CONNECTIONS] = count

    def set_requests(self, count: int) -> None:
        """Publish how many requests this worker has in progress."""
        if self._numbers[self._own + _REQUESTS] != count:
            self._numbers[self._own + _REQUESTS] = count
            self._numbers[self._own + _SINCE] = time.monotonic_ns()

    def set_images(self, count: int) -> None:
        """Publish how many CPUs this worker needs for its images; any thread may call it."""
        self._numbers[self._own + _IMAGES] = count

    def images_of_peers(self) -> int:
        """How many CPUs the other workers that are alive need together."""
        numbers = self._numbers
        alive = time.monotonic_ns() - int(_DEAD_SECONDS * 1e9)
        others = (row for row in self._rows if row != self._own and numbers[row + _BEAT] > alive)
        return sum(numbers[row + _IMAGES] for row in others)

    def withdraw(self) -> None:
        """Take this worker out of those that connections are sent to."""
        self._numbers[self._own + _PID] = 0

    def peers(self) -> list[WorkerLoad]:
        """The loads of the other workers that are alive."""
        numbers = self._numbers.tolist()
        alive = time.monotonic_ns() - int(_DEAD_SECONDS * 1e9)
        return [
            WorkerLoad(*numbers[row : row + _BEAT])
            for row in self._rows
            if row != self._own and numbers[row + _PID] and numbers[row + _BEAT] > alive
        ]

    def has_idle_peer(self) -> bool:
        """Whether another worker has had nothing to do for a while; asked with every request."""
        numbers = self._numbers
        now = time.monotonic_ns()
        idle, alive = now - int(_IDLE_SECONDS * 1e9), now - int(_DEAD_SECONDS * 1e9)
        for row in self._rows:
            if row == self._own or not numbers[row + _PID] or numbers[row + _REQUESTS]:
                continue
            if numbers[row + _SINCE] < idle and numbers[row + _BEAT] > alive:
                return True
        return False

    def count_sent_connection(self, pid: int) -> None:
        """Count a connection that is on its way to another worker, until that worker counts it itself."""
        for row in self._rows:
            if self._numbers[row + _PID] == pid:
                self._numbers[row + _CONNECTIONS] += 1

    def remove(self, pid: int) -> None:
        """Take a dead worker out of the table."""
        for row in self._rows:
            if self._numbers[row + _PID] == pid:
                self._numbers[row + _PID] = 0


class ConnectionBalancer:
    """Sends connections to less busy workers, and takes those that others send."""

    def __init__(
        self,
        folder: Path,
        workers: int,
        protocol: Callable[[], asyncio.Protocol],
        requests: Callable[[], int],
    ) -> None:
        """Take part.

        Args:
            folder: what the workers of one server share.
            workers: how many there are.
            protocol: makes the protocol of a connection that is taken.
            requests: how many requests are in progress in this worker.
        """
        self._loop = asyncio.get_running_loop()
        self._folder = folder
        self._protocol = protocol
        self._requests = requests
        self._tasks: set[asyncio.Task[object]] = set()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._path = folder / f"{os.getpid()}.socket"
        self._path.unlink(missing_ok=True)
        self._socket.bind(str(self._path))
        self._loop.add_reader(self._socket, self._take)
        self.loads = WorkerLoads(folder, workers)
        self._beat()

    def _beat(self) -> None:
        self.loads.heartbeat()
        self.loads.set_requests(self._requests())
        self._timer = self._loop.call_later(_BEAT_SECONDS, self._beat)

    def hand_over(self, connection: int, connections: int, requests: int) -> bool:
        """Send a connection to another worker, if one has less to do than this.

        Args:
            connection: the file descriptor, from which nothing has been read; it stays open here.
            connections: what this worker has, this one among them.
            requests: those in progress here.

        Returns:
            Whether it was sent: the caller must then close its own descriptor, and forget it.
        """
        least = min(self.loads.peers(), key=lambda load: load.total, default=None)
        if least is None or least.total + 1 >= connections + requests:
            return False
        try:
            # Not socket.send_fds, which passes no address on.
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [connection]))
            self._socket.sendmsg([b"c"], [rights], 0, str(self._folder / f"{least.pid}.socket"))
        except OSError as error:
            if error.errno not in _FULL:
                self.loads.remove(least.pid)
            return False
        self.loads.count_sent_connection(least.pid)
        return True

    def stop_receiving(self) -> None:
        """Receive no further connections; those on their way are still taken."""
        self.loads.withdraw()

    def close(self) -> None:
        """Stop taking connections, and remove the socket."""
        self.stop_receiving()
        self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _take(self) -> None:
        while True:
            try:
                _, descriptors, _, _ = socket.recv_fds(self._socket, 16, 1)
            except OSError:
                return
            for descriptor in descriptors:
                with contextlib.suppress(OSError):
                    taken = socket.socket(fileno=descriptor)
                    taken.setblocking(False)
                    task = self._loop.create_task(self._serve(taken))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    async def _serve(self, taken: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, taken)
        except OSError:  # the client has gone away meanwhile
            taken.close()
