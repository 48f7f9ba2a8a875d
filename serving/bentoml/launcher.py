"""The launcher of `pinnace serve`: checks settings, port and bundles, then runs BentoML's workers."""

from __future__ import annotations

import functools
import ipaddress
import logging
import os
import socket
import sys
from pathlib import Path

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import UsageError
from pinnace.models.printable import printable
from pinnace.serving.bentoml.home import ensure_folders
from pinnace.serving.bentoml.startup import StartupError
from pinnace.serving.inference.layout import plan
from pinnace.serving.inference.registry import bundles_by_name
from pinnace.serving.inference.shadow_process import start_shadow
from pinnace.serving.inference.tuned import pass_on, with_profile
from pinnace.serving.observability.metrics_port import serve_metrics
from pinnace.serving.observability.request_log import configure_logging
from pinnace.serving.observability.shared_memory import FOLDER_VARIABLE
from pinnace.serving.recording.open_recorder import check_record, record_sentences
from pinnace.serving.settings import ServerSettings, require_signatures
from pinnace.serving.workers.parent_watchdog import announce_parent, stop_with_parent
from pinnace.serving.workers.readiness import warm_workers
from pinnace.serving.workers.reload import signal_workers
from pinnace.serving.workers.server_folder import make_folder
from pinnace.serving.workers.sources import with_local_bundles
from pinnace.serving.workers.supervisor import Supervisor

_BACKLOG = 2048


def launch(settings: ServerSettings) -> None:
    """Serve bundles until SIGTERM or SIGINT; requests in flight are finished first.

    Raises:
        UsageError: the port is taken, the host is not an address of this machine, or two bundles have the
            same name.
        MissingDependency: the runtime is not installed.
        BundleError: there is no bundle, or it is damaged.
        CheckFailed: a file of it has changed, or it does not give its golden outputs here.
    """
    require_signatures(settings)
    # `pinnace tune` announces itself to the servers that it starts: one that is killed leaves none behind.
    stop_with_parent(settings.grace)
    settings = settings.model_copy(update={"host": _address(settings.host)})
    check_record(settings)
    listener = _bind(settings.host, settings.port)
    settings, notes = with_local_bundles(settings)
    for note in notes:
        print(printable(note), file=sys.stderr, flush=True)
    names = list(bundles_by_name(settings.folders))
    tuned, sentences = with_profile(settings)
    for sentence in sentences:
        print(printable(sentence), file=sys.stderr, flush=True)
    os.environ.update(tuned.environment())
    pass_on(tuned, settings)
    settings = tuned
    ensure_folders()

    layout = plan(settings)
    url = _url(settings.host, settings.port)
    line = (
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} ready on {url} "
        f"({layout.workers} x {layout.share} images at once): "
        f"curl -F image=@cat.jpg {url}/{_verb(settings.folders[0])}"
    )
    try:
        _run(settings, listener, layout.workers, line)
    except StartupError as error:
        raise error.cause from None


def _verb(folder: Path) -> str:
    """The route that the first model answers."""
    outputs = Bundle.open(folder).manifest.outputs
    return "embed" if outputs is not None and outputs.meaning == "embedding" else "classify"


def _run(settings: ServerSettings, listener: socket.socket, workers: int, line: str) -> None:
    # The parent's own messages; the workers set up theirs.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s: %(message)s")
    configure_logging(logging.getLogger().handlers, lines=False)
    folder = make_folder()
    metrics = folder / "metrics"
    metrics.mkdir(exist_ok=True)
    os.environ[FOLDER_VARIABLE] = str(metrics)
    announce_parent()
    from pinnace.serving.bentoml.worker import preload, run_worker

    preload(settings)
    if settings.shadow is not None:
        print(printable(start_shadow(settings, folder)), file=sys.stderr, flush=True)
    for sentence in record_sentences(settings):
        print(printable(sentence), file=sys.stderr, flush=True)
    if settings.metrics_port is not None:
        serve_metrics(settings.host, settings.metrics_port, metrics)

    def on_ready(sentences: tuple[str, ...]) -> None:
        for sentence in (*sentences, line):
            print(printable(sentence), file=sys.stderr, flush=True)

    def on_reload() -> None:
        signal_workers(sorted(warm_workers(folder)))

    work = functools.partial(run_worker, listener, settings.grace)
    Supervisor(work, workers, settings.grace, on_ready=on_ready, on_reload=on_reload).run()


def _address(host: str) -> str:
    """The IP address of a host name: BentoML listens on addresses only."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except OSError:
        raise UsageError(
            f"cannot listen on the host {host}", expected="an IP address of this machine", got=host
        ) from None


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0).lower()}",
            hint="choose another with --port, or stop what listens there",
        ) from None
    return listener


def _url(host: str, port: int) -> str:
    anywhere = {"0.0.0.0": "localhost", "::": "localhost", "127.0.0.1": "localhost"}
    name = anywhere.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"
