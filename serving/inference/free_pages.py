"""Free memory goes back to the system; the allocator keeps what threads have freed, a whole picture each."""

from __future__ import annotations

import contextlib
import ctypes


def give_back_free_pages() -> None:
    """Give the free pages of the allocator back (glibc only)."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
