"""What BentoML's parent process does here that it would not do by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bentoml.serving
from bentoml._internal.utils import circus
from circus.sighandler import SysHandler  # type: ignore[import-untyped]

from pinnace.serving.workers.readiness import shared_folder, warm_workers
from pinnace.serving.workers.reload import signal_workers, write_request

_CHECK_MILLISECONDS = 500


def watch_workers_closely() -> None:
    """Let BentoML look after its workers twice a second, wherever it runs.

    It looks every ten seconds, so a lone worker that was killed would be missed for as long. In a container
    it restarts none and leaves that to the orchestrator, which notices nothing while another worker lives.
    """
    bentoml.serving.running_inside_container = lambda: False  # type: ignore[assignment]
    if getattr(circus.Arbiter.start, "_pinnace", False):
        return
    start = circus.Arbiter.start

    def start_watchful(self: circus.Arbiter, cb: Callable[[Any], Any] | None = None) -> None:
        self.ctrl.check_delay = _CHECK_MILLISECONDS
        start(self, cb)

    start_watchful._pinnace = True  # type: ignore[attr-defined]
    circus.Arbiter.start = start_watchful  # type: ignore[method-assign]


def reload_on_sighup() -> None:
    """Let SIGHUP to the parent reload the bundles; it would restart the workers otherwise."""

    def handle_hup(self: object) -> None:
        folder = shared_folder()
        if folder is not None:
            write_request(folder, None, sender=None)
            signal_workers(sorted(warm_workers(folder)))

    SysHandler.handle_hup = handle_hup
