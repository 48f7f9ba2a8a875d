"""Ports of this machine."""

from __future__ import annotations

import os
import random
import socket

# Below those that Linux hands out itself, and each process of the tests has its own: one that was free a
# moment ago is not taken by another that looks for one, nor by a client.
_FIRST = 12_000
_EACH = 1_000
_next = random.randrange(_EACH)


def free_port() -> int:
    """A port that nothing listens on now, and that nobody else is given."""
    global _next
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for _ in range(_EACH):
        _next = (_next + 1) % _EACH
        port = _FIRST + worker % 20 * _EACH + _next
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
