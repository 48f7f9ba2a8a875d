"""What goes past the routers is answered as if it had gone through them."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from pinnace.serving.http.fast_path import FastPath
from support.tiny_bundle import encode


@pytest.fixture
def short() -> TestClient:
    owner = Starlette()
    owner.state.name = "owner"

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(f"{request.app.state.name} {await request.body()!r}")

    async def rest(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("rest")(scope, receive, send)

    return TestClient(FastPath(rest, owner, {"/classify": endpoint}))


def test_a_post_to_the_path_is_answered_in_the_name_of_the_application(short: TestClient) -> None:
    assert short.post("/classify?top_k=1", content=b"x").text == "owner b'x'"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/classify"), ("POST", "/classify/"), ("POST", "/"), ("PUT", "/classify")]
)
def test_everything_else_is_handed_on(short: TestClient, method: str, path: str) -> None:
    assert short.request(method, path).text == "rest"


@pytest.mark.parametrize(
    ("content", "query", "headers", "status"),
    [
        ("image", "", {}, 200),
        ("image", "?top_k=99", {}, 422),
        ("nothing", "", {}, 400),
        ("image", "", {"Content-Type": "text/plain"}, 415),
        ("nonsense", "", {"Content-Type": "application/json"}, 400),
    ],
)
def test_both_ways_give_one_answer(
    client: httpx.Client, content: str, query: str, headers: dict[str, str], status: int
) -> None:
    bodies = {"image": encode((1, 2, 3)), "nothing": b"", "nonsense": b"{"}
    replies = [
        client.post(f"{path}{query}", content=bodies[content], headers=headers)
        for path in ("/classify", "/models/tiny/classify")
    ]
    assert [reply.status_code for reply in replies] == [status, status]
    assert list(replies[0].headers) == list(replies[1].headers)
    bodies_read = [{**reply.json(), "timing_ms": None} for reply in replies]
    assert bodies_read[0] == bodies_read[1]


def test_another_method_is_405_as_before(client: httpx.Client) -> None:
    reply = client.get("/classify")
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
