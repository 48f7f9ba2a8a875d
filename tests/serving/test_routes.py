"""A family of routes is one new file: it is served, authenticated, logged, counted, described and listed."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pinnace.serving.bentoml.route_metrics import RouteMetrics
from pinnace.serving.http import route_families
from pinnace.serving.http.app import create_app
from pinnace.serving.http.auth import ApiKeyMiddleware
from pinnace.serving.http.endpoint import endpoint
from pinnace.serving.http.fast_path import FastPath
from pinnace.serving.http.openapi.document import describe
from pinnace.serving.observability.request_log import RequestLog
from pinnace.serving.routes import Route, RouteFamily, RouteTable
from pinnace.serving.settings import load_settings

TOY = '''
"""A toy: an open probe that is not logged, and an echo below a name that needs the key."""

from starlette.responses import JSONResponse
from typing_extensions import TypedDict

from pinnace.models.errors import UsageError
from pinnace.serving.http.openapi.responses import success
from pinnace.serving.http.openapi.schemas import ref
from pinnace.serving.routes import Route, RouteFamily


class EchoBody(TypedDict):
    """What was said."""

    echo: str
    name: str


async def ping(request):
    return JSONResponse({"pong": True})


async def echo(request):
    text = (await request.body()).decode()
    if not text:
        raise UsageError("nothing was said", hint="say something")
    body: EchoBody = {"echo": text, "name": request.path_params["name"]}
    return JSONResponse(body)


def describe(facts):
    return {
        "summary": "Say it again",
        "operationId": "echo",
        "tags": ["Operations"],
        "responses": success("It.", ref(EchoBody)),
    }


FAMILY = RouteFamily(
    prefix="/toy",
    prefix_listed="toys",
    error_form=lambda body: {"toy": body["error"]["message"]},
    routes=(
        Route("/toy/ping", handler=ping, open=True, logged=False),
        Route("/toy/fast", "POST", ping, fast=True),
        Route(
            "/toy/{name:path}/echo",
            "POST",
            echo,
            listed="say it again",
            operation=describe,
            bodies=(EchoBody,),
        ),
    ),
)
'''

KEY = {"X-API-Key": "secret"}
SETTINGS = load_settings(api_key="secret")


@pytest.fixture
def routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RouteTable:
    """The table of all routes, with the toy in one new file beside the others."""
    (tmp_path / "toy_for_tests.py").write_text(TOY, encoding="utf-8")
    monkeypatch.setattr(route_families, "__path__", [*route_families.__path__, str(tmp_path)])
    return route_families.route_table()


@pytest.fixture
def app(routes: RouteTable) -> Starlette:
    return create_app(routes, SETTINGS, open_registry=lambda: pytest.fail("no model is needed"))


def ask(app: ASGIApp, method: str, path: str, **options: Any) -> httpx.Response:
    async def talk() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.request(method, path, **options)

    return asyncio.run(talk())


def test_it_is_served_with_its_own_form_of_errors(app: Starlette) -> None:
    assert ask(app, "GET", "/toy/ping").json() == {"pong": True}
    assert ask(app, "POST", "/toy/a/b/echo", content="hello").json() == {"echo": "hello", "name": "a/b"}
    refused = ask(app, "POST", "/toy/a/echo")
    assert (refused.status_code, refused.json()) == (422, {"toy": "nothing was said"})
    missing = ask(app, "GET", "/toy/none")
    assert (missing.status_code, missing.json()) == (404, {"toy": "there is nothing at /toy/none"})
    assert "error" in ask(app, "GET", "/toys").json()


def test_it_needs_the_key_or_is_open(app: Starlette, routes: RouteTable) -> None:
    locked = ApiKeyMiddleware(app, ["secret"], routes)
    assert ask(locked, "GET", "/toy/ping").status_code == 200
    refused = ask(locked, "POST", "/toy/a/echo", content="hello")
    assert (refused.status_code, list(refused.json())) == (401, ["toy"])
    assert ask(locked, "POST", "/toy/a/echo", content="hello", headers=KEY).status_code == 200
    assert ask(locked, "GET", "/toy/none").status_code == 401


def test_it_is_logged_or_silent(
    app: Starlette, routes: RouteTable, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("pinnace.access"), "propagate", True)
    caplog.set_level(logging.INFO, "pinnace.access")
    logged = RequestLog(app, lines=True, routes=routes)
    ask(logged, "GET", "/toy/ping")
    ask(logged, "POST", "/toy/a/b/echo", content="hello")
    (line,) = caplog.records
    assert line.__dict__["fields"]["route"] == "/toy/{name}/echo"


def test_it_is_counted_under_its_route(app: Starlette, routes: RouteTable) -> None:
    metrics = RouteMetrics(app, routes, lambda made: None, namespace="toy", skip_paths=[])
    asked = [("GET", "/toy/ping"), ("POST", "/toy/a/b/echo"), ("POST", "/toy/none"), ("POST", "/none")]
    for method, path in asked:
        ask(metrics, method, path, content="hello")
    (total,) = metrics._metrics.metrics_request_total.collect()
    counted = {
        (sample.labels["endpoint"], sample.labels["http_response_code"]): sample.value
        for sample in total.samples
        if sample.name.endswith("_total")
    }
    assert counted == {("/toy/ping", "200"): 1, ("/toy/{name}/echo", "200"): 1, ("other", "404"): 2}
    (seconds,) = metrics._metrics.metrics_request_duration.collect()
    assert sum(sample.value for sample in seconds.samples if sample.name.endswith("_count")) == 4
    (in_progress,) = metrics._metrics.metrics_request_in_progress.collect()
    assert {sample.labels["endpoint"] for sample in in_progress.samples} == {path for path, _ in counted}
    assert not any(sample.value for sample in in_progress.samples)


def test_it_is_described_with_its_bodies(routes: RouteTable) -> None:
    document = json.loads(json.dumps(describe(routes, SETTINGS, None)))
    assert document["paths"]["/toy/{name}/echo"]["post"]["operationId"] == "echo"
    assert "/toy/ping" not in document["paths"]
    schema = document["components"]["schemas"]["Echo"]
    assert schema["required"] == ["echo", "name"]
    assert schema["description"] == "What was said."


def test_it_is_listed_last(routes: RouteTable) -> None:
    listing = list(routes.listing().items())
    assert listing[0][0] == "GET /"
    assert listing[-2:] == [("/toy", "toys"), ("POST /toy/{name}/echo", "say it again")]


def test_what_is_fast_is_answered_past_the_routers(app: Starlette, routes: RouteTable) -> None:
    assert set(routes.fast_routes()) == {"/classify", "/toy/fast"}

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("the ordinary way")(scope, receive, send)

    endpoints = {path: endpoint(handler) for path, handler in routes.fast_routes().items()}
    fast = FastPath(nothing, app, endpoints)
    assert ask(fast, "POST", "/toy/fast").json() == {"pong": True}
    assert ask(fast, "POST", "/toy/a/echo").text == "the ordinary way"


@pytest.fixture(scope="module")
def table() -> RouteTable:
    return route_families.route_table()


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/", "/"),
        ("/classify", "/classify"),
        ("/docs", "/docs"),
        ("/models/a/b/classify_batch", "/models/{name}/classify_batch"),
        ("/models/a/other", "other"),
        ("/v2", "/v2"),
        ("/v2/models/a", "/v2/models/{name}"),
        ("/v2/models/a/versions/1/infer", "/v2/models/{name}/infer"),
        ("/v2/none", "other"),
        ("/page/style.css", "/page"),
        ("/page", "other"),
        ("/metrics", "/metrics"),
    ],
)
def test_a_path_is_counted_as_one_of_few(table: RouteTable, path: str, label: str) -> None:
    assert table.label(path) == label


def test_what_is_open_and_what_is_silent(table: RouteTable) -> None:
    health = {"/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"}
    assert {route.path for route in table.routes if route.open} == {"/", "/page", *health}
    assert {route.path for route in table.routes if not route.logged} == {"/metrics", *health}
    assert table.is_open("/page/style.css")
    assert not table.is_open("/pages")
    assert not table.is_open("/none")
    assert table.is_logged("/none")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (Route("/a"), "there are two routes GET /a"),
        (Route("/a", "POST", open=True), "the routes of /a must agree in open, logged and counted_as"),
        (Route("/a", "POST", logged=False), "the routes of /a must agree in open, logged and counted_as"),
    ],
)
def test_routes_that_contradict_each_other_are_refused(second: Route, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RouteTable([RouteFamily((Route("/a"),)), RouteFamily((second,))])
