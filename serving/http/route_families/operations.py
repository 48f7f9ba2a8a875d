"""Probes and metrics, which BentoML answers."""

from __future__ import annotations

from pinnace.serving.http.bodies import ErrorBody
from pinnace.serving.http.openapi.operations import probe, text
from pinnace.serving.routes import Json, Route, RouteFamily, ServerFacts


def describe_livez(facts: ServerFacts) -> Json:
    """`GET /livez` as an OpenAPI operation."""
    return probe("livez", "The process is up")


def describe_healthz(facts: ServerFacts) -> Json:
    """`GET /healthz` as an OpenAPI operation."""
    return {**probe("healthz", "The same as /livez, by its old name"), "deprecated": True}


def describe_readyz(facts: ServerFacts) -> Json:
    """`GET /readyz` as an OpenAPI operation."""
    return probe(
        "readyz",
        "Every worker has loaded, checked and warmed up the models",
        unavailable="`service_unavailable`: not every worker is ready, or this one is stopping.",
    )


def describe_metrics(facts: ServerFacts) -> Json:
    """`GET /metrics` as an OpenAPI operation."""
    return text("metrics", "Prometheus metrics", "text/plain")


FAMILY = RouteFamily(
    rank=50,
    routes=(
        Route("/livez", open=True, logged=False, listed="the process is up", operation=describe_livez),
        Route("/healthz", open=True, logged=False, operation=describe_healthz),
        Route(
            "/readyz",
            open=True,
            logged=False,
            listed="every worker has warmed up",
            operation=describe_readyz,
            bodies=(ErrorBody,),
        ),
        Route("/metrics", logged=False, listed="Prometheus metrics", operation=describe_metrics),
    ),
)
