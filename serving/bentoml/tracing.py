"""Where the traces of a worker go."""

from __future__ import annotations

from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer

from pinnace.serving.observability import tracing


def tracer_provider() -> Any | None:
    """What makes spans in this worker, if an exporter is configured.

    The variables of OpenTelemetry come first, then BentoML's own configuration (`tracing.exporter_type`).
    """
    if tracing.is_disabled():
        return None
    if tracing.has_endpoint():
        return tracing.otlp_provider()
    if BentoMLContainer.tracing.exporter_type.get():
        return BentoMLContainer.tracer_provider.get()
    return None
