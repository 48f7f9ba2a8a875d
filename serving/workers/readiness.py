"""Readiness of the whole server: every worker must have warmed up and live, whichever answers the probe.

The workers share one listening socket, so `/readyz` reaches any of them. Each holds a lock on a file of its
own, in the folder that they share, and sets the file's time again and again: a worker that is gone has lost
its lock, and one that is stopped or whose event loop is blocked falls behind.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import time
from pathlib import Path

from pinnace.serving.workers.server_folder import shared_folder

_BEAT_SECONDS = 0.5

# A worker that has not moved for so long does not count as living.
_SILENT_SECONDS = 5.0


def warm_workers(folder: Path) -> dict[int, bool]:
    """The process ids of the workers that have warmed up and are there, and whether they move."""
    return {
        int(file.name): not _is_silent(file)
        for file in folder.iterdir()
        if file.name.isdecimal() and _is_locked(file)
    }


class Readiness:
    """Whether all workers of the server have warmed up, as one of them sees it."""

    def __init__(self, workers: int) -> None:
        """Expect a number of workers; without a folder from a parent, this one only."""
        self._folder = shared_folder()
        self._workers = workers
        self._announced = False
        self._own: int | None = None

    def mark_warm(self) -> None:
        """This worker has warmed up; its lock on its file ends with it, however it ends."""
        self._announced = True
        if self._folder is not None and self._folder.is_dir():
            self._own = os.open(self._folder / str(os.getpid()), os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._own, fcntl.LOCK_EX)
            self._move()

    def keep_moving(self) -> None:
        """Show the others, from now on, that the event loop of this worker runs."""
        if self._own is not None:
            self._move()
            asyncio.get_running_loop().call_later(_BEAT_SECONDS, self.keep_moving)

    def _move(self) -> None:
        assert self._own is not None
        now = time.monotonic_ns()  # which no change of the clock moves, and which all processes share
        os.utime(self._own, ns=(now, now))

    def all_ready(self) -> bool:
        """Whether every worker has warmed up, and lives."""
        return self._announced and self._warm_workers() >= self._workers

    def other_workers(self) -> dict[int, bool]:
        """The process ids of the other workers that have warmed up, and whether they move."""
        if self._folder is None or not self._folder.is_dir():
            return {}
        found = warm_workers(self._folder)
        found.pop(os.getpid(), None)
        return found

    def leads(self) -> bool:
        """Whether, of the workers that move, this is the one that does what one has to do for all."""
        moving = (pid for pid, moves in self.other_workers().items() if moves)
        return os.getpid() < min(moving, default=sys.maxsize)

    def _warm_workers(self) -> int:
        if self._folder is None or not self._folder.is_dir():
            return self._workers
        return 1 + sum(self.other_workers().values())


def _is_silent(file: Path) -> bool:
    try:
        moved = file.stat().st_mtime_ns
    except FileNotFoundError:
        return False
    return time.monotonic_ns() - moved > _SILENT_SECONDS * 1e9


def _is_locked(file: Path) -> bool:
    """Whether a worker holds the lock. Its process id alone may have gone to another process."""
    try:
        probe = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(probe)
