"""Gives memory back to the system that was needed while the models were loaded."""

from __future__ import annotations

import contextlib
import ctypes
import gc


def release_free_memory() -> None:
    """Collect garbage, have the collector leave alone what stays, and give free pages back (glibc only)."""
    gc.collect()
    gc.freeze()  # it need not look through what was made until now again and again
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
