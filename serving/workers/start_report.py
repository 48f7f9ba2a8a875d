"""What a worker tells its parent while it starts: that it is ready, or why it cannot be.

Without it a bundle that is not good would be found out by every worker for itself, again and again, and the
parent would have to load the model to find it out first.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from pinnace.models.errors import PinnaceError, from_dict

_INTERNAL = "internal"


@dataclass(frozen=True)
class StartReport:
    """How the start of a worker went.

    Attributes:
        sentences: what the user is told once the worker is ready.
        error: why it is not.
    """

    sentences: tuple[str, ...] = ()
    error: Exception | None = None


class StartReporter:
    """A worker's end of the pipe to its parent; one that no parent listens to says nothing."""

    def __init__(self) -> None:
        """Report to nobody."""
        self._connection: Connection | None = None

    def connect(self, connection: Connection) -> None:
        """Report to the parent that reads the other end."""
        self._connection = connection

    def ready(self, sentences: Sequence[str]) -> None:
        """This worker answers from now on."""
        self._send({"sentences": list(sentences)})

    def failed(self, error: Exception) -> None:
        """This worker cannot serve. Where a parent listens, which says so, the process ends here."""
        if self._connection is None:
            return
        if isinstance(error, PinnaceError):
            self._send({"error": error.to_dict()})
        else:
            self._send({_INTERNAL: f"{type(error).__name__}: {error}"})
        os._exit(1)

    def _send(self, message: dict[str, object]) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):  # the parent is gone; the watchdog ends this worker
                self._connection.send(message)


reporter = StartReporter()  # of this process


def read_report(connection: Connection) -> StartReport | None:
    """What a worker has reported; None if it ended without a word."""
    try:
        message = connection.recv()
    except (EOFError, OSError):
        return None
    if "error" in message:
        return StartReport(error=from_dict(message["error"]))
    if _INTERNAL in message:
        return StartReport(error=RuntimeError(message[_INTERNAL]))
    return StartReport(tuple(message["sentences"]))
