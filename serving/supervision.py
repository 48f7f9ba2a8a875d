"""BentoML's parent process restarts a worker that died; here it does so soon, and in containers as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bentoml.serving
from bentoml._internal.utils import circus

_CHECK_MILLISECONDS = 500


def restart_workers() -> None:
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
