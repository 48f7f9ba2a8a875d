"""`GET /` and the files of the page."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from pinnace.serving.http.bodies import IndexBody
from pinnace.serving.http.model_info import index_body
from pinnace.serving.http.openapi.operations import failures_without_key
from pinnace.serving.http.openapi.schemas import ref
from pinnace.serving.http.openapi.tags import MODELS
from pinnace.serving.http.request_body import JSON
from pinnace.serving.http.state import server_state
from pinnace.serving.http.static import PAGE_FILES, wants_page
from pinnace.serving.json_line import JsonLine
from pinnace.serving.routes import Json, Route, RouteFamily, ServerFacts


async def index(request: Request) -> Response:
    """`GET /`: the page for a browser; what is served, and where, for others."""
    if wants_page(request):
        return await PAGE_FILES.page(request.scope)
    state = server_state(request)
    body = index_body(state.models.answering, state.routes.listing(), state.settings)
    return JsonLine(body, headers={"Vary": "Accept"})


def describe_index(facts: ServerFacts) -> Json:
    """`GET /` as an OpenAPI operation."""
    return {
        "summary": "The page, for a browser; what is served, and where, for others",
        "operationId": "index",
        "tags": [MODELS],
        "security": [],
        "responses": {
            "200": {
                "description": "HTML where the client names it in Accept; else the models and the routes.",
                "content": {JSON: {"schema": ref(IndexBody)}, "text/html": {"schema": {"type": "string"}}},
            },
            **failures_without_key(),
        },
    }


FAMILY = RouteFamily(
    rank=0,
    routes=(
        Route(
            "/",
            handler=index,
            open=True,
            listed="the page, for a browser; this list, for others",
            operation=describe_index,
            bodies=(IndexBody,),
        ),
        Route("/page", app=PAGE_FILES, open=True),
    ),
)
