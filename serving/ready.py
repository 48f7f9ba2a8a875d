"""Ready when every worker has warmed up, whichever of them is asked.

The workers share one listening socket, so `/readyz` reaches any of them. Each leaves a file with its process
id in a folder that the parent made before it started them.
"""

from __future__ import annotations

import atexit
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


class Readiness:
    """What one worker knows of all."""

    def __init__(self, workers: int) -> None:
        """Expect a number of workers; without a folder from a parent, this one only."""
        folder = os.environ.get(VARIABLE)
        self._folder = Path(folder) if folder else None
        self._workers = workers
        self._announced = False
        self._all = False

    def announce(self) -> None:
        """This worker has warmed up."""
        self._announced = True
        if self._folder is not None and self._folder.is_dir():
            (self._folder / str(os.getpid())).touch()

    def all_ready(self) -> bool:
        """Whether every worker has warmed up.

        Once true, it stays true: a worker that is replaced later takes no connection before it is warm.
        """
        if not self._all and self._announced:
            self._all = self._warm_workers() >= self._workers
        return self._all

    def _warm_workers(self) -> int:
        if self._folder is None or not self._folder.is_dir():
            return self._workers
        return sum(_alive(int(file.name)) for file in self._folder.iterdir())


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
