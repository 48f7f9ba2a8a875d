"""Stops a worker whose parent is gone, because nothing would stop or replace it any more."""

from __future__ import annotations

import os
import signal
import threading
import time

_SECONDS = 1.0


def stop_with_parent(parent: int) -> None:
    """End this process as SIGTERM does, requests in flight first, once its parent is no longer `parent`.

    BentoML gives every worker a session of its own, so nothing else reaches it when the parent is killed.
    """
    threading.Thread(target=_watch, args=(parent,), name="pinnace-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
