"""What is used of BentoML, its circus and uvicorn although they do not promise to keep it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import version

# The import string of the service, for BentoML, and for a bento.
SERVICE = "pinnace.serving.service:svc"


@dataclass(frozen=True)
class PrivateName:
    """One name.

    Attributes:
        distribution: what brings it; BentoML brings circus.
        module: where the name is imported from.
        name: the attribute of the module, with dots where it is an attribute of that.
        purpose: what does not work without it.
    """

    distribution: str
    module: str
    name: str
    purpose: str

    def missing(self) -> str | None:
        """A sentence where the installed version does not have it; None where it does."""
        try:
            found: object = importlib.import_module(self.module)
            for part in self.name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            installed = f"{self.distribution} {version(self.distribution)}"
            return f"{installed} has no {self.module}.{self.name} ({error}): {self.purpose}"
        return None


PRIVATE_NAMES = (
    PrivateName(
        "bentoml", "_bentoml_impl.worker.service", "main", "a worker of `pinnace serve` is BentoML's own"
    ),
    PrivateName(
        "bentoml",
        "bentoml._internal.log",
        "SERVER_LOGGING_CONFIG",
        "a worker that is forked keeps the loggers that its parent has made",
    ),
    PrivateName(
        "bentoml",
        "bentoml._internal.configuration.containers",
        "BentoMLContainer.prometheus_multiproc_dir.get",
        "PINNACE_METRICS_PORT answers what the workers write there",
    ),
    PrivateName(
        "bentoml",
        "bentoml._internal.configuration.containers",
        "BentoMLContainer.tracing.exporter_type.get",
        "BentoML's own configuration of traces is honoured",
    ),
    PrivateName(
        "bentoml",
        "bentoml._internal.configuration.containers",
        "BentoMLContainer.tracer_provider.get",
        "BentoML's own configuration of traces is honoured",
    ),
    PrivateName("bentoml", "bentoml", "Service.to_asgi", "the middleware of a worker is put together there"),
    PrivateName("bentoml", "bentoml", "Service.openapi_spec", "/docs.json is our description"),
    PrivateName(
        "bentoml",
        "bentoml._internal.utils.analytics.usage_stats",
        "do_not_track.cache_clear",
        "nothing is reported to anybody",
    ),
    PrivateName(
        "bentoml",
        "bentoml._internal.context",
        "server_context",
        "a request that is refused early is counted under the service's name",
    ),
    PrivateName(
        "bentoml",
        "bentoml._internal.server.http.instruments",
        "RunnerTrafficMetricsMiddleware._setup",
        "requests are counted by route",
    ),
    PrivateName(
        "bentoml",
        "bentoml._internal.server.http.traffic",
        "TimeoutMiddleware",
        "it is left out, because our own timeout answers with a JSON error",
    ),
    PrivateName(
        "bentoml",
        "_bentoml_impl.server.app",
        "ContextMiddleware",
        "it is put last: our routes do not use BentoML's context of a request",
    ),
    PrivateName(
        "opentelemetry-instrumentation-asgi",
        "opentelemetry.instrumentation.asgi",
        "OpenTelemetryMiddleware",
        "it is known by its name, and left out where there is no exporter",
    ),
    PrivateName(
        "bentoml",
        "bentoml.serving",
        "running_inside_container",
        "workers are restarted in containers as well",
    ),
    PrivateName(
        "bentoml",
        "bentoml._internal.utils.circus",
        "Arbiter.start",
        "workers are looked after twice a second, and killed when their grace is over",
    ),
    PrivateName(
        "bentoml", "circus.sighandler", "SysHandler.handle_hup", "SIGHUP to the parent reloads the bundles"
    ),
    PrivateName("uvicorn", "uvicorn.config", "HTTP_PROTOCOLS", "uvicorn speaks HTTP with our bounds"),
    PrivateName("uvicorn", "uvicorn", "Server.startup", "connections are shared out over the workers"),
    PrivateName(
        "uvicorn",
        "uvicorn.protocols.http.httptools_impl",
        "STATUS_LINE",
        "a connection is refused before there is a request",
    ),
    PrivateName(
        "uvicorn",
        "uvicorn.protocols.http.flow_control",
        "FlowControl.resume_reading",
        "what a client still sends is read, so that it reads its answer",
    ),
    PrivateName(
        "uvicorn",
        "uvicorn.protocols.http.httptools_impl",
        "RequestResponseCycle.receive",
        "an answer whose request is cut short is given up",
    ),
    *(
        PrivateName(
            "uvicorn",
            "uvicorn.protocols.http.httptools_impl",
            f"HttpToolsProtocol.{method}",
            "our protocol overrides it",
        )
        for method in (
            *("connection_made", "connection_lost", "data_received", "eof_received", "on_header"),
            *("on_headers_complete", "_start_asgi_task", "on_response_complete", "on_message_complete"),
            "shutdown",
        )
    ),
)
