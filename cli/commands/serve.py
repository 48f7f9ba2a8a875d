"""`pinnace serve`: check the bundles, then run BentoML's server until it is told to stop."""

from __future__ import annotations

import http.client
import importlib.util
import ipaddress
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pinnace.cli.console import out, plain, print_json
from pinnace.cli.options import RuntimeOption, VariantOption
from pinnace.models.errors import MissingDependency, UsageError

SERVICE = "pinnace.serving.service:svc"

_POLL_SECONDS = 0.05


def serve(
    bundle: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Bundles' folders; the first answers where a request names no model.",
            metavar="[BUNDLE]...",
            show_default="the setting `bundle`",
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1, this machine only")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on.", min=1, max=65535, show_default="3000")
    ] = None,
    workers: Annotated[
        str | None, typer.Option(help="Server processes, or auto.", metavar="N", show_default="auto")
    ] = None,
    concurrency: Annotated[
        str | None,
        typer.Option(help="Images at once in each process, or auto.", metavar="N", show_default="auto"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads for one image.", min=1, show_default="1")
    ] = None,
    variant: VariantOption = None,
    runtime: RuntimeOption = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.", show_default="the runtime's own")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file of settings; options and PINNACE_ variables come first.",
            metavar="FILE",
            show_default="$PINNACE_CONFIG, or pinnace.toml where there is one",
        ),
    ] = None,
    print_settings: Annotated[
        bool,
        typer.Option(
            "--print-settings", help="Show every setting and where it comes from, and serve nothing."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --print-settings: print JSON.")] = False,
) -> None:
    """Serve bundles over HTTP until it is interrupted; requests in flight are finished first."""
    if json and not print_settings:
        raise UsageError("--json has a meaning only with --print-settings")
    if print_settings:
        from pinnace.serving.settings import resolve_settings

        told = resolve_settings(
            config,
            bundle=tuple(bundle) if bundle else None,
            variant=variant,
            runtime=runtime,
            device=device,
            host=host,
            port=port,
            workers=workers,
            concurrency=concurrency,
            threads=threads,
        )
        if json:
            print_json({one.name: {"value": one.value, "source": one.source} for one in told})
            return
        table = Table(box=None, pad_edge=False)
        for title in ("setting", "value", "from"):
            table.add_column(title)
        for one in told:
            value = "" if one.value is None else str(one.value)
            if isinstance(one.value, list):
                value = " ".join(map(str, one.value))
            table.add_row(one.name, plain(value), "" if one.source == "default" else plain(one.source))
        out().print(table)
        return
    run(
        *(bundle or ()),
        config=config,
        variant=variant,
        runtime=runtime,
        device=device,
        host=host,
        port=port,
        workers=workers,
        concurrency=concurrency,
        threads=threads,
    )


def run(
    *bundles: Path,
    config: Path | None = None,
    variant: str | None = None,
    runtime: str | None = None,
    device: str | None = None,
    host: str | None = None,
    port: int | None = None,
    workers: int | str | None = None,
    concurrency: int | str | None = None,
    threads: int | None = None,
) -> None:
    """Serve bundles until SIGTERM or SIGINT; requests in flight are finished first.

    What is None comes from the environment (`PINNACE_PORT` and so on), then from the TOML file `config`, then
    from the defaults; see `pinnace.serving.settings.ServerSettings`, which says what each means.

    Raises:
        UsageError: a setting is not valid, the port is taken, or two bundles have the same name.
        MissingDependency: BentoML or the runtime is not installed.
        BundleError: there is no bundle, or it is damaged.
        CheckFailed: a file of it has changed, or it does not give its golden outputs here.
    """
    for module in ("bentoml", "python_multipart"):
        if importlib.util.find_spec(module) is None:
            raise MissingDependency(
                f"serving needs {module}, which is not installed", hint="pip install 'pinnace[serve]'"
            )
    # These modules need nothing of the extra `serve`, but read well only after the line above.
    from pinnace.serving.inference.layout import plan
    from pinnace.serving.inference.registry import bundles_by_name, preflight
    from pinnace.serving.settings import load_settings

    settings = load_settings(
        config,
        bundle=tuple(bundle.absolute() for bundle in bundles) or None,
        variant=variant,
        runtime=runtime,
        device=device,
        host=_address(host) if host is not None else None,
        port=port,
        workers=workers,
        concurrency=concurrency,
        threads=threads,
    )
    settings = settings.model_copy(update={"host": _address(settings.host)})
    _check_port(settings.host, settings.port)
    preflight(settings)
    os.environ.update(settings.environment())

    layout = plan(settings)
    url = _url(settings.host, settings.port)
    names = list(bundles_by_name(settings.bundle))
    line = (
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} ready on {url} "
        f"({layout.workers} x {layout.share} images at once): curl -F image=@cat.jpg {url}/classify"
    )
    threading.Thread(target=_announce, args=(settings.host, settings.port, line), daemon=True).start()
    _serve(settings.host, settings.port, settings.grace)


def _serve(host: str, port: int, grace: int) -> None:
    # The parent's own messages; the workers set up theirs.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s: %(message)s")
    from _bentoml_impl.server import serve_http  # type: ignore[import-untyped]
    from bentoml._internal.configuration.containers import BentoMLContainer

    from pinnace.serving.service import svc

    # BentoML's default folder is one for all servers of a user, and each empties it when it starts.
    metrics = tempfile.mkdtemp(prefix="pinnace-metrics-")
    BentoMLContainer.prometheus_multiproc_dir.set(metrics)
    try:
        svc.inject_config()
        serve_http(SERVICE, working_dir=".", host=host, port=port, timeout_graceful_shutdown=grace)
    finally:
        shutil.rmtree(metrics, ignore_errors=True)


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
