"""Gives memory back to the system that was needed while the models were loaded."""

from __future__ import annotations

import gc

from pinnace.serving.inference.free_pages import give_back_free_pages


def release_free_memory() -> None:
    """Collect garbage, have the collector leave alone what stays, and give free pages back (glibc only)."""
    gc.collect()
    gc.freeze()  # it need not look through what was made until now again and again
    give_back_free_pages()
