"""The page cache: dropped before a cold start where that is allowed, and what of a file is still in it."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

DROP_CACHES = Path("/proc/sys/vm/drop_caches")

MACHINE = "dropped for the whole machine (drop_caches)"
FILES = "dropped for the bundle's and the runtime's files (posix_fadvise)"
KEPT = "kept"

# Above this share of the model's file, the cache was not dropped, whatever the system said.
_STILL_THERE = 0.1


def drop(files: Sequence[Path], drop_caches: Path = DROP_CACHES) -> str:
    """Have these files read from the disk the next time.

    Root drops the cache of the whole machine, anybody else that of files which may be opened. What a process
    has mapped stays in either case, and a file system in memory has no other place for its pages.

    Args:
        files: the model's file first; the others are those of the runtime.
        drop_caches: the kernel's file; root may write to it.

    Returns:
        `MACHINE`, `FILES`, or `KEPT` where the model's file is still in memory.
    """
    how = KEPT
    if hasattr(os, "sync"):
        os.sync()  # a page that has yet to be written is not dropped
    try:
        drop_caches.write_text("1\n")
        how = MACHINE
    except OSError:
        if hasattr(os, "posix_fadvise") and all([_advise(file) for file in files][:1]):
            how = FILES
    share = cached_share(files[0]) if files else None
    return KEPT if share is not None and share > _STILL_THERE else how


def _advise(file: Path) -> bool:
    try:
        handle = os.open(file, os.O_RDONLY)
    except OSError:
        return False
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def cached_share(file: Path) -> float | None:
    """The share of a file's pages that are in the page cache, 0 to 1; None where the system does not say."""
    mincore = getattr(ctypes.CDLL(None), "mincore", None)
    size = file.stat().st_size if file.is_file() else 0
    if mincore is None or size == 0:
        return None
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        start = ctypes.c_char.from_buffer(mapped)
        try:
            pages = -(-size // mmap.PAGESIZE)
            states = (ctypes.c_ubyte * pages)()
            failed = mincore(ctypes.byref(start), ctypes.c_size_t(size), states)
        finally:
            del start  # it holds the mapping open
    return None if failed else sum(state & 1 for state in states) / pages
