"""The folder that the processes of one server share, for as long as its parent lives.

The parent holds a lock in it. A parent that is killed leaves the folder behind, without that lock: the next
server of the same user removes it.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from pinnace.models.errors import UsageError

VARIABLE = "PINNACE_SERVER_FOLDER"

_PREFIX = "pinnace-server-"
_LOCK = "lock"

# Between the making of a folder and its lock.
_BEING_MADE_SECONDS = 60.0


def make_folder() -> Path:
    """The folder of the server of which this process is the parent; it goes when this process does.

    Raises:
        UsageError: there is no room for it among the temporary files.
    """
    with contextlib.suppress(FileNotFoundError):
        folder = shared_folder()
        if folder is not None and (folder / _LOCK).read_text() == str(os.getpid()):
            return folder
    _remove_those_of_the_dead()
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)  # held until this process ends, however it ends
        os.write(lock, str(os.getpid()).encode())
    except OSError as error:
        raise UsageError(
            f"the server cannot keep its temporary files in {tempfile.gettempdir()}: {error.strerror}",
            hint="make room there, or set TMPDIR to another folder",
        ) from None
    os.environ[VARIABLE] = str(folder)
    return folder


def shared_folder() -> Path | None:
    """The folder that a parent has made for this process, where one has."""
    folder = os.environ.get(VARIABLE)
    return Path(folder) if folder and Path(folder).is_dir() else None


def _remove_those_of_the_dead() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            about = folder.lstat()
            if about.st_uid == os.getuid() and not folder.is_symlink() and not _has_a_parent(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _has_a_parent(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime < _BEING_MADE_SECONDS
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return time.time() - folder.stat().st_mtime < _BEING_MADE_SECONDS and not (folder / _LOCK).stat().st_size
