"""The launcher of `pinnace serve`: checks settings, port and bundles, then runs BentoML's server."""

from __future__ import annotations

import http.client
import importlib
import importlib.util
import ipaddress
import logging
import os
import socket
import sys
import threading
import time
from pathlib import Path

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import MissingDependency, UsageError
from pinnace.models.printable import printable
from pinnace.serving.bentoml.home import ensure_folders
from pinnace.serving.bentoml.private_names import SERVICE
from pinnace.serving.bentoml.startup import StartupError
from pinnace.serving.inference.layout import plan
from pinnace.serving.inference.registry import bundles_by_name
from pinnace.serving.inference.tuned import pass_on, with_profile
from pinnace.serving.observability.request_log import configure_logging
from pinnace.serving.settings import ServerSettings, require_signatures
from pinnace.serving.workers.parent_watchdog import stop_with_parent
from pinnace.serving.workers.server_folder import make_folder

_POLL_SECONDS = 0.05


def launch(settings: ServerSettings) -> None:
    """Serve bundles until SIGTERM or SIGINT; requests in flight are finished first.

    Raises:
        UsageError: the port is taken, the host is not an address of this machine, or two bundles have the
            same name.
        MissingDependency: BentoML or the runtime is not installed.
        BundleError: there is no bundle, or it is damaged.
        CheckFailed: a file of it has changed, or it does not give its golden outputs here.
    """
    for module in ("bentoml", "python_multipart"):
        if importlib.util.find_spec(module) is None:
            raise MissingDependency(
                f"serving needs {module}, which is not installed", hint="pip install 'pinnace[serve]'"
            )
    require_signatures(settings)
    # `pinnace tune` announces itself to the servers that it starts: one that is killed leaves none behind.
    stop_with_parent(settings.grace)
    bundles = tuple(bundle.absolute() for bundle in settings.bundle)
    settings = settings.model_copy(update={"host": _address(settings.host), "bundle": bundles})
    _check_port(settings.host, settings.port)
    names = list(bundles_by_name(settings.bundle))
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
        f"curl -F image=@cat.jpg {url}/{_verb(settings.bundle[0])}"
    )
    threading.Thread(
        target=_announce, args=(settings.host, settings.port, printable(line)), daemon=True
    ).start()
    try:
        _run(settings.host, settings.port, settings.grace)
    except StartupError as error:
        raise error.cause from None


def _verb(folder: Path) -> str:
    """The route that the first model answers."""
    outputs = Bundle.open(folder).manifest.outputs
    return "embed" if outputs is not None and outputs.meaning == "embedding" else "classify"


def _run(host: str, port: int, grace: int) -> None:
    # The parent's own messages; the workers set up theirs.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s: %(message)s")
    configure_logging(logging.getLogger().handlers, lines=False)
    from _bentoml_impl.server import serve_http  # type: ignore[import-untyped]
    from bentoml._internal.configuration.containers import BentoMLContainer

    # Imported by its import string, as BentoML does it again in every worker.
    module, _, attribute = SERVICE.partition(":")
    service = getattr(importlib.import_module(module), attribute)
    # BentoML's default folder is one for all servers of a user, and each empties it when it starts.
    BentoMLContainer.prometheus_multiproc_dir.set(str(make_folder() / "metrics"))
    service.inject_config()
    serve_http(SERVICE, working_dir=".", host=host, port=port, timeout_graceful_shutdown=grace)


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


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0).lower()}",
                hint="choose another with --port, or stop what listens there",
            ) from None


def _url(host: str, port: int) -> str:
    anywhere = {"0.0.0.0": "localhost", "::": "localhost", "127.0.0.1": "localhost"}
    name = anywhere.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


def _announce(host: str, port: int, line: str) -> None:
    """Print a line on stderr once the server is ready."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    while True:
        connection = http.client.HTTPConnection(address, port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                print(line, file=sys.stderr, flush=True)
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(_POLL_SECONDS)
