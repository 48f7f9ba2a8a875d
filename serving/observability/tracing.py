"""OpenTelemetry spans of the stages of an image, where an exporter is configured; else nothing at all."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import time
from importlib.metadata import version
from typing import Any

from pinnace.models.answer import Timing

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

# In the order in which an image goes through them.
_STAGES = ("queue", "decode", "preprocess", "infer")

logger = logging.getLogger("pinnace.serving")


def is_disabled() -> bool:
    """Whether the variables of OpenTelemetry forbid traces."""
    return (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    )


def has_endpoint() -> bool:
    """Whether the variables of OpenTelemetry name a collector."""
    return _first(ENDPOINTS) is not None


def _first(names: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def otlp_provider() -> Any | None:
    """What makes spans and sends them to the collector; None where the exporter is not installed."""
    kind = "grpc" if _first(PROTOCOLS) == "grpc" else "http"
    package = f"opentelemetry.exporter.otlp.proto.{kind}"
    if not _installed(f"{package}.trace_exporter"):
        # A server must not stay down for want of traces; the variable may be set for a whole cluster.
        logger.warning(
            "there are no traces: %s is not installed (pip install opentelemetry-exporter-otlp-proto-%s)",
            package,
            kind,
        )
        return None
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = importlib.import_module(f"{package}.trace_exporter").OTLPSpanExporter()
    ours = Resource({SERVICE_NAME: "pinnace", SERVICE_VERSION: version("pinnace")})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


class StageSpans:
    """Writes a span for an image and one for each of its stages, below the span of the request."""

    def __init__(self, provider: Any) -> None:
        """Write with a provider's tracer."""
        self._tracer = provider.get_tracer("pinnace", version("pinnace"))

    def write(self, timing: Timing, **attributes: str) -> str | None:
        """Spans of an image that is done just now; they are made of its times, so they cost it nothing.

        Returns:
            The id of the trace, where this request is sampled.
        """
        from opentelemetry import trace

        request = trace.get_current_span()
        if not request.is_recording():
            return None
        names = {f"pinnace.{name}": value for name, value in attributes.items()}
        end = time.time_ns()
        at = end - _nanoseconds(timing.total)
        image = self._tracer.start_span("image", start_time=at, attributes=names)
        below = trace.set_span_in_context(image)
        for stage in _STAGES:
            span = self._tracer.start_span(stage, below, start_time=at)
            at += _nanoseconds(getattr(timing, stage))
            span.end(at)
        image.end(end)
        return trace.format_trace_id(request.get_span_context().trace_id)


def _nanoseconds(milliseconds: float) -> int:
    return round(1e6 * milliseconds)
