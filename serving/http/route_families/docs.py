"""The OpenAPI document: to be read at `/docs`, and for programs at `/docs.json`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from pinnace.serving.http.openapi.operations import text
from pinnace.serving.http.openapi.responses import ANYWHERE, failures, success
from pinnace.serving.http.openapi.tags import OPERATIONS
from pinnace.serving.http.request_body import JSON
from pinnace.serving.http.state import server_state
from pinnace.serving.http.static import PAGE_FILES
from pinnace.serving.routes import Json, Route, RouteFamily, ServerFacts


async def docs(request: Request) -> Response:
    """`GET /docs`: the OpenAPI document, to be read."""
    return await PAGE_FILES.docs(request.scope)


async def docs_json(request: Request) -> Response:
    """`GET /docs.json`: the OpenAPI document, for programs; BentoML would make it anew for each request."""
    state = server_state(request)
    return Response(state.document.json(state.registry) + b"\n", media_type=JSON)


def describe_docs(facts: ServerFacts) -> Json:
    """`GET /docs` as an OpenAPI operation."""
    return text("docs", "This description, to be read", "text/html")


def describe_docs_json(facts: ServerFacts) -> Json:
    """`GET /docs.json` as an OpenAPI operation."""
    return {
        "summary": "This description",
        "operationId": "docs_json",
        "tags": [OPERATIONS],
        "responses": {**success("OpenAPI 3.0.", {"type": "object"}), **failures(*ANYWHERE)},
    }


FAMILY = RouteFamily(
    rank=40,
    routes=(
        Route(
            "/docs",
            handler=docs,
            listed="the OpenAPI description, to be read; for programs, GET /docs.json",
            operation=describe_docs,
        ),
        Route("/docs.json", handler=docs_json, fast=True, operation=describe_docs_json),
        Route("/schema.json"),
    ),
)
