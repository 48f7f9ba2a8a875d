"""Stops a worker whose parent is gone, because nothing would stop or replace it any more.

A server that `pinnace tune` starts is stopped likewise when that is gone.
"""

from __future__ import annotations

import os
import signal
import threading
import time

VARIABLE = "PINNACE_PARENT"

_THREAD = "pinnace-parent"

_SECONDS = 1.0

# What a worker needs beyond its grace to end by itself.
_ENDING_SECONDS = 2.0


def announce_parent() -> None:
    """Tell the processes that this one starts that they belong to it."""
    os.environ[VARIABLE] = str(os.getpid())


def stop_with_parent(grace: float) -> None:
    """End this process once the parent that was announced to it is gone, be it before this is called.

    It ends as SIGTERM ends it, requests in flight first, and is killed if it takes longer than `grace`
    seconds. BentoML gives every worker a session of its own, so nothing else reaches it when the parent is
    killed. The parent itself, to which none was announced, watches nothing. A second call does nothing.
    """
    announced = os.environ.get(VARIABLE, "")
    if announced.isdecimal() and announced != str(os.getpid()) and not _is_watched():
        threading.Thread(target=_watch, args=(int(announced), grace), name=_THREAD, daemon=True).start()


def _is_watched() -> bool:
    return any(thread.name == _THREAD for thread in threading.enumerate())


def _watch(parent: int, grace: float) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace + _ENDING_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
