"""The BentoML service: `bentoml serve pinnace.serving.service:svc`, or `pinnace serve BUNDLE`.

The routes are a mounted Starlette application: one call of a `@bentoml.api` costs several milliseconds of
CPU before any image is decoded. BentoML runs the processes, `/livez`, `/readyz`, `/metrics` and `/docs.json`.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import bentoml
import click
from bentoml.images import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from pinnace.models.errors import PinnaceError
from pinnace.models.file_stores import absolute
from pinnace.models.printable import printable
from pinnace.serving.bentoml.analytics import opt_out
from pinnace.serving.bentoml.connections import share_connections, use_bounded_protocol
from pinnace.serving.bentoml.http_protocol import BoundedProtocol
from pinnace.serving.bentoml.middleware import Outside, arrange
from pinnace.serving.bentoml.parent import reload_on_sighup, watch_workers_closely
from pinnace.serving.bentoml.route_metrics import RouteMetrics, metrics_folder
from pinnace.serving.bentoml.startup import StartupError
from pinnace.serving.bentoml.tracing import tracer_provider
from pinnace.serving.http.app import create_app
from pinnace.serving.http.auth import ApiKeyMiddleware
from pinnace.serving.http.cors import CrossOrigin
from pinnace.serving.http.endpoint import endpoint, http_exception_handler
from pinnace.serving.http.fast_path import FastPath
from pinnace.serving.http.openapi.document import describe
from pinnace.serving.http.route_families import route_table
from pinnace.serving.http.state import state_of
from pinnace.serving.inference.layout import plan
from pinnace.serving.inference.registry import Registry, answering_sentences, preflight
from pinnace.serving.inference.shadow_process import start_shadow
from pinnace.serving.inference.tuned import pass_on, with_profile
from pinnace.serving.observability.metrics import Metrics
from pinnace.serving.observability.metrics_port import serve_metrics
from pinnace.serving.observability.request_log import RequestLog, configure_logging
from pinnace.serving.observability.shared_memory import allocate_metrics
from pinnace.serving.observability.tracing import StageSpans
from pinnace.serving.packaging.wheel import ROOMS
from pinnace.serving.routes import Handler
from pinnace.serving.settings import ServerSettings, load_settings, require_signatures
from pinnace.serving.workers.connection_balancing import WorkerLoads
from pinnace.serving.workers.free_memory import release_free_memory
from pinnace.serving.workers.load_shedding import LoadShedder
from pinnace.serving.workers.parent_watchdog import announce_parent, stop_with_parent
from pinnace.serving.workers.readiness import Readiness
from pinnace.serving.workers.reload import Reloader
from pinnace.serving.workers.server_folder import make_folder, shared_folder
from pinnace.serving.workers.shutdown import GracefulShutdown, ShutdownMiddleware
from pinnace.serving.workers.sources import pass_on_places, with_local_bundles
from pinnace.serving.workers.start_report import reporter
from pinnace.serving.workers.watch import Watcher

logger = logging.getLogger("pinnace.serving")

opt_out()


class PinnaceService(bentoml.Service[Any]):  # type: ignore[misc]
    """A BentoML service that describes its mounted routes and gives every error our form."""

    @property
    def openapi_spec(self) -> Any:
        """The description of every route, ours and BentoML's."""
        return describe(routes, settings, state.registry)

    def to_asgi(self, is_main: bool = True) -> Any:
        """The application of one worker."""
        allocate_metrics()
        worker = super().to_asgi(is_main)
        assert isinstance(worker, Starlette)
        worker.add_exception_handler(HTTPException, http_exception_handler(routes))
        _log_to_stderr()
        provider = tracer_provider()
        if provider is not None:
            state.spans = StageSpans(provider)
        middleware = arrange(
            worker.user_middleware,
            outermost=[
                Middleware(ShutdownMiddleware, shutdown=shutdown, routes=routes),
                Middleware(RequestLog, lines=settings.access_log, routes=routes),
            ],
            innermost=_own_middleware(),
            routes=routes,
            tracer_provider=provider,
            on_route_metrics=_count_refusals_with,
        )
        use_bounded_protocol(settings)
        folder = shared_folder()
        if folder is not None and layout.workers > 1:
            share_connections(folder, layout.workers, _share_cpus_with)
        # Pillow warns of what is odd in a file: a line in the log for each of thousands of tags.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        worker.user_middleware = []
        return Outside(worker, middleware)


def _own_middleware() -> list[Middleware]:
    found = []
    if settings.cors_origins:
        # Outside the API key: a browser asks before it sends one, and must be able to read a refusal.
        origins = [origin.strip() for origin in settings.cors_origins.split(",")]
        found.append(Middleware(CrossOrigin, origins=origins, routes=routes))
    keys = settings.accepted_keys()
    if keys:
        found.append(Middleware(ApiKeyMiddleware, keys=keys, routes=routes))
    found.append(Middleware(FastPath, owner=app, posts=_fast("POST"), gets=_fast("GET")))
    return found


def _fast(method: str) -> dict[str, Handler]:
    return {path: endpoint(handler) for path, handler in routes.fast_routes(method).items()}


def _log_to_stderr() -> None:
    # BentoML gives the same handler to each of them, and lets two of them hand their lines on to the last.
    loggers = [logging.getLogger(name) for name in ("bentoml", "uvicorn.error", "circus", None)]
    handlers = list({id(handler): handler for logger in loggers for handler in logger.handlers}.values())
    for logger in loggers:
        logger.propagate = logger.propagate and not logger.handlers
    for handler in handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setStream(sys.stderr)
    configure_logging(handlers, lines=settings.access_log)
    # What it says below that is that a worker has started or ended.
    logging.getLogger("bentoml").setLevel(logging.WARNING)
    # What is wrong with a form its client is told; a line for each would let one client fill the log.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def _read_settings() -> tuple[ServerSettings, list[str]]:
    try:
        settings = load_settings()
    except PinnaceError as error:
        raise StartupError(error) from None
    # BentoML stands in the folder of the project, or of the bento, while it imports this module; not later.
    require_signatures(settings)
    if settings.record is not None:
        settings = settings.model_copy(update={"record": absolute(settings.record)})
    try:
        settings, notes = with_local_bundles(settings)
    except PinnaceError as error:
        raise StartupError(error) from None
    pass_on_places(settings)
    try:
        tuned, sentences = with_profile(settings)
    except PinnaceError:
        return settings, notes  # reported when the bundle is opened to be served
    pass_on(tuned, settings)
    return tuned, notes + sentences


def _is_ready() -> bool:
    return readiness.all_ready() and not shutdown.stopping


def _open_registry() -> Registry:
    try:
        return Registry.open(settings, layout, Metrics())
    except Exception as error:
        if not isinstance(error, PinnaceError):
            logger.exception("the models cannot be loaded")
        reporter.failed(error)
        raise


def _share_cpus_with(loads: WorkerLoads) -> None:
    state.models.executor.scheduler.share_cpus_with(loads)


def _count_refusals_with(metrics: RouteMetrics) -> None:
    state.count_request = metrics.count


def _shed_load(registry: Registry) -> None:
    """Refuse early what would be refused, where only the metrics count it: no log, key or trace."""
    observed = settings.access_log or settings.accepted_keys() or settings.cors_origins
    if not observed and state.spans is None and state.count_request is not None:
        BoundedProtocol.shedder = LoadShedder(
            registry.admission,
            routes.fast_routes(),
            settings.max_body_bytes,
            state.count_request,
            BoundedProtocol.has_idle_peer,
        )


def _serve_metrics() -> None:
    if settings.metrics_port is not None:
        # Where the host is not set, BentoML listens on every interface.
        host = settings.host if "host" in settings.model_fields_set else "0.0.0.0"
        serve_metrics(host, settings.metrics_port, metrics_folder())


def _take_no_connections() -> None:
    BoundedProtocol.shedder = None
    if BoundedProtocol.balancer is not None:
        BoundedProtocol.balancer.stop_receiving()


def _on_ready(registry: Registry) -> None:
    shutdown.install(_take_no_connections, registry.admission.stop)
    reloader = state.reloader = Reloader(registry, readiness)
    reloader.install()
    if settings.watch is not None:
        state.watcher = Watcher(registry, reloader, readiness, settings.watch)
        state.watcher.start()
    _shed_load(registry)
    release_free_memory()
    readiness.mark_warm()
    readiness.keep_moving()
    reloader.reload_if_replaced()
    reporter.ready(answering_sentences(settings, registry))


settings, profile_sentences = _read_settings()
stop_with_parent(settings.grace)
routes = route_table(settings.switched_on())
layout = plan(settings)
readiness = Readiness(layout.workers)
shutdown = GracefulShutdown(settings.drain, settings.grace)
app = create_app(routes, settings, open_registry=_open_registry, on_ready=_on_ready, is_ready=_is_ready)
state = state_of(app)
watch_workers_closely(settings.grace)
reload_on_sighup()


def _http_config() -> dict[str, Any]:
    # What is not set is left to BentoML, which listens on every interface: in a container it has to.
    given = {"host": settings.host, "port": settings.port}
    return {name: value for name, value in given.items() if name in settings.model_fields_set}


def _installed_from() -> list[str]:
    """What a bento installs Pinnace from: BentoML's Dockerfile would copy it only after that.

    In a bento of `pinnace package` that is a wheel, in one of a checkout the checkout itself.
    """
    checkout = ["pyproject.toml", "setup.py", "README.md", "LICENSE", *ROOMS]
    return checkout if all(Path(name).exists() for name in checkout) else ["wheels"]


@bentoml.asgi_app(app, path="/")
@bentoml.service(
    name="pinnace",
    service_class=PinnaceService,
    workers=layout.workers,
    http=_http_config(),
    image=Image().build_include(*_installed_from()),
    logging={"access": {"enabled": False}},  # ours: pinnace.serving.observability.request_log
)
class Pinnace:
    """Classifies images with Pinnace bundles."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def before_the_workers() -> None:
        """Run once, in the parent: say what is wrong before a worker dies of it again and again."""
        try:
            sentences = preflight(settings, layout)
        except PinnaceError as error:
            raise StartupError(error) from None
        try:
            _serve_metrics()
        except PinnaceError as error:
            raise StartupError(error) from None
        for sentence in (*profile_sentences, *sentences):
            click.echo(printable(sentence), err=True)
        announce_parent()
        # BentoML makes one more folder, which a parent that is killed leaves behind as well.
        folder = make_folder()
        tempfile.tempdir = str(folder)
        if settings.shadow is not None:
            try:
                click.echo(printable(start_shadow(settings, folder)), err=True)
            except PinnaceError as error:
                raise StartupError(error) from None

    async def __is_ready__(self) -> bool:
        return _is_ready()


svc: Any = Pinnace
