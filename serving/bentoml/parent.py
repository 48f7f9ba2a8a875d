"""What BentoML's parent process does here that it would not do by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bentoml.serving
from bentoml._internal.utils import circus
from circus.sighandler import SysHandler  # type: ignore[import-untyped]

from pinnace.serving.workers.readiness import warm_workers
from pinnace.serving.workers.reload import signal_workers
from pinnace.serving.workers.server_folder import shared_folder

_CHECK_MILLISECONDS = 500

# Within which a worker whose grace is over writes its last answers and ends.
_ENDING_SECONDS = 1.0


def watch_workers_closely(grace: float) -> None:
    """Let BentoML look after its workers twice a second, wherever it runs, and kill those that do not end.

    It looks every ten seconds, so a lone worker that was killed would be missed for as long. In a container
    it restarts none and leaves that to the orchestrator, which notices nothing while another worker lives.
    To one that is told to stop it gives a day.

    Args:
        grace: seconds that a worker has to end by itself, once it is told to stop.
    """
    bentoml.serving.running_inside_container = lambda: False  # type: ignore[assignment]
    if getattr(circus.Arbiter.start, "_pinnace", False):
        return
    start = circus.Arbiter.start

    def start_watchful(self: circus.Arbiter, cb: Callable[[Any], Any] | None = None) -> None:
        self.ctrl.check_delay = _CHECK_MILLISECONDS
        for watcher in self.watchers:
            watcher.graceful_timeout = grace + _ENDING_SECONDS
        start(self, cb)

    start_watchful._pinnace = True  # type: ignore[attr-defined]
    circus.Arbiter.start = start_watchful  # type: ignore[method-assign]


def reload_on_sighup() -> None:
    """Let SIGHUP to the parent reload the bundles; it would restart the workers otherwise."""

    def handle_hup(self: object) -> None:
        folder = shared_folder()
        if folder is not None:
            signal_workers(sorted(warm_workers(folder)))

    SysHandler.handle_hup = handle_hup
