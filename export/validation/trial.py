"""Whether a library survives a file: where it crashes, it takes its process with it, so it is tried first."""

from __future__ import annotations

import contextlib
import signal
from multiprocessing import get_context
from pathlib import Path

from pinnace.models.bundle.signature import Signature
from pinnace.models.errors import PinnaceError
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import RuntimeOptions


def crash(runtime: str, path: Path, signature: Signature, options: RuntimeOptions) -> str | None:
    """Load a variant's file in a process of its own.

    Args:
        runtime: its name.
        path: the file.
        signature: its inputs and outputs.
        options: how it is to run.

    Returns:
        How the process died, such as `SIGSEGV`; None where it did not. An error that the runtime raises, it
        raises again in this process.
    """
    child = get_context("spawn").Process(target=_load, args=(runtime, path, signature, options))
    child.start()
    child.join()
    code = child.exitcode or 0
    return signal.Signals(-code).name if code < 0 else None


def _load(name: str, path: Path, signature: Signature, options: RuntimeOptions) -> None:
    with contextlib.suppress(PinnaceError):
        all_runtimes()[name](path, signature, options).close()
