"""A worker of `pinnace serve`: BentoML's own, in a process that the supervisor has forked or started."""

from __future__ import annotations

import contextlib
import importlib
import socket
import tempfile
from multiprocessing.connection import Connection

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import Runtime
from pinnace.models.selection import variant_for, working_readers
from pinnace.serving.bentoml.private_names import SERVICE
from pinnace.serving.settings import ServerSettings
from pinnace.serving.workers.parent_watchdog import stop_with_parent
from pinnace.serving.workers.server_folder import shared_folder
from pinnace.serving.workers.start_report import reporter

# What a worker imports when it starts and when it answers first, beyond the service: those that are forked
# find it in memory.
_PRELOADED = (
    "_bentoml_impl.server.app",
    "_bentoml_impl.worker.service",
    "bentoml._internal.server.http.instruments",
)


def preload(settings: ServerSettings) -> None:
    """Import what every worker needs, before they are forked."""
    for module in (SERVICE.partition(":")[0], *_PRELOADED):
        importlib.import_module(module)
    with contextlib.suppress(Exception):  # a worker will say what is wrong
        for runtime in _runtimes(settings):
            runtime.preload()


def _runtimes(settings: ServerSettings) -> set[type[Runtime]]:
    """What will probably answer. Nothing is asked here that would load a runtime's libraries."""
    if settings.runtime is not None:
        return {all_runtimes()[settings.runtime]}
    found: set[type[Runtime]] = set()
    for folder in settings.folders:
        bundle = Bundle.open(folder)
        variant = variant_for(bundle, settings.variant, None, settings.device)
        found.update(working_readers(bundle, variant, None, settings.device)[:1])
    return found


def run_worker(listener: socket.socket, grace: int, number: int, connection: Connection) -> None:
    """Serve on a socket until SIGTERM.

    Args:
        listener: where connections come in.
        grace: seconds that requests in flight have to finish.
        number: which worker this is, from 1.
        connection: where the parent is told that it is ready, or cannot be.
    """
    stop_with_parent(grace)
    # BentoML makes a folder here, which a worker that is killed leaves behind.
    tempfile.tempdir = str(shared_folder() or tempfile.gettempdir())
    reporter.connect(connection)
    from _bentoml_impl.worker.service import main  # type: ignore[import-untyped]
    from bentoml._internal.log import SERVER_LOGGING_CONFIG

    # BentoML sets the log up where nothing is imported yet, and would silence the loggers that are there by
    # now.
    SERVER_LOGGING_CONFIG["disable_existing_loggers"] = False
    options = {"fd": listener.detach(), "worker-id": number, "timeout-graceful-shutdown": grace}
    main(
        [SERVICE, *(f"--{name}={value}" for name, value in options.items())],
        prog_name="pinnace",
        standalone_mode=False,
    )
