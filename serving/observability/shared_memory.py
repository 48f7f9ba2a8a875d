"""Files that several processes map into memory: their space is allocated before anything is written.

A file that only has a length takes its space on the disk when it is first written to. Where the disk is full
by then, a write through the map ends the process with SIGBUS.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path

logger = logging.getLogger("pinnace.serving")

# Where prometheus_client writes, and reads what all workers have written.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_MEMORY = Path("/dev/shm")

# What prometheus_client calls its files: one of each for every worker that counts.
_METRIC_FILES = ("counter", "histogram", "gauge_livesum", "gauge_all")
_METRIC_BYTES = 1 << 20


def allocate(descriptor: int, size: int) -> None:
    """Give a file at least this many bytes, zeros where it had none.

    Raises:
        OSError: there is no room for them.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        missing = size - os.fstat(descriptor).st_size
        os.pwrite(descriptor, bytes(max(0, missing)), size - max(0, missing))


def allocate_metrics() -> None:
    """Make the files of this process's metrics, before prometheus_client makes them without their space.

    Where there is no room for them beside those of the other workers, they go to memory and are missing in
    the sum. The log says so.

    Raises:
        OSError: there is no room there either.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return
    _ask_once_for_the_process()
    try:
        _allocate_metrics(Path(folder))
    except OSError as error:
        own = tempfile.mkdtemp(prefix="pinnace-metrics-", dir=_MEMORY if _MEMORY.is_dir() else None)
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        _allocate_metrics(Path(own))
        os.environ[FOLDER_VARIABLE] = own
        logger.error(
            "%s: %s; process %d counts its metrics for itself",
            folder,
            error.strerror,
            os.getpid(),
        )


def _ask_once_for_the_process() -> None:
    """A worker does not fork: that need not be looked for with a call of the system for every number."""
    from prometheus_client import values

    process = os.getpid()
    values.ValueClass = values.MultiProcessValue(lambda: process)  # type: ignore[no-untyped-call]


def _allocate_metrics(folder: Path) -> None:
    made: list[Path] = []
    try:
        for name in _METRIC_FILES:
            path = folder / f"{name}_{os.getpid()}.db"
            made.append(path)
            with path.open("ab") as file:
                allocate(file.fileno(), _METRIC_BYTES)
    except OSError:
        for path in made:
            path.unlink(missing_ok=True)
        raise
