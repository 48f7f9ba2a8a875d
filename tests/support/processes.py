"""Starting processes that a test interrupts, and ending those that it leaves behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psutil  # type: ignore[import-untyped]


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """What is started in here ends when it gets SIGINT, also where the tests themselves ignore that signal.

    A shell without job control starts what runs in the background with SIGINT ignored, and children inherit
    that. A signal that is caught, as in here, is back at its default after `exec`.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def kill_on_exit(process: subprocess.Popen[Any]) -> Callable[[], None]:
    """Remember a process and its children; what is returned kills those that still run.

    Every worker of a server leads a session of its own, so that a signal to the process group of its parent
    does not reach it.
    """
    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        found = [parent, *parent.children(recursive=True)]

    def kill() -> None:
        for one in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    return kill


def crash(*_: object) -> None:
    """End this process as a fault in a library does."""
    os.kill(os.getpid(), signal.SIGSEGV)
