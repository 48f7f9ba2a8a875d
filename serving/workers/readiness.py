"""Readiness of the whole server: every worker must have warmed up, whichever answers the probe.

The workers share one listening socket, so `/readyz` reaches any of them. Each holds a lock on a file of its
own, in a folder that the parent made before it started them.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

VARIABLE = "PINNACE_READY_FOLDER"


def make_folder() -> None:
    """Make the folder for the workers of this process; it goes when this process does."""
    folder = tempfile.mkdtemp(prefix="pinnace-ready-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[VARIABLE] = folder


def shared_folder() -> Path | None:
    """The folder of the workers, where a parent has made one."""
    folder = os.environ.get(VARIABLE)
    return Path(folder) if folder and Path(folder).is_dir() else None


def warm_workers(folder: Path) -> set[int]:
    """The process ids of the workers that have warmed up, and live."""
    return {int(file.name) for file in folder.iterdir() if file.name.isdigit() and _is_locked(file)}


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

    def all_ready(self) -> bool:
        """Whether every worker has warmed up, and lives."""
        return self._announced and self._warm_workers() >= self._workers

    def other_workers(self) -> list[int]:
        """The process ids of the other workers that have warmed up."""
        if self._folder is None or not self._folder.is_dir():
            return []
        return sorted(warm_workers(self._folder) - {os.getpid()})

    def _warm_workers(self) -> int:
        if self._folder is None or not self._folder.is_dir():
            return self._workers
        return len(warm_workers(self._folder))


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
