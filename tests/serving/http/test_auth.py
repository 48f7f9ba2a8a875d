"""The API key, and pages of other origins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support.tiny_bundle import encode

KEY = "päss wörd"
ORIGIN = "https://example.com"


@pytest.fixture(scope="module")
def locked(start_server: Any) -> Iterator[httpx.Client]:
    server = start_server(
        workers=1, concurrency=1, drain=0, api_key=KEY, cors_origins=f"{ORIGIN}, https://b.org"
    )
    server.wait_until_ready()
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client
    server.stop()


def assert_refused(response: httpx.Response) -> None:
    assert (response.status_code, response.json()) == (
        401,
        {
            "error": {
                "code": "unauthorized",
                "message": "the request has no API key, or another than the server's",
                "hint": "send it as Authorization: Bearer KEY, or as X-API-Key: KEY",
            }
        },
    )
    assert response.headers["www-authenticate"] == "Bearer"


def test_what_runs_the_model_or_tells_of_it_needs_the_key(locked: httpx.Client) -> None:
    for method, path in [
        ("POST", "/classify"),
        ("POST", "/classify_batch"),
        ("POST", "/models/tiny/classify"),
        ("GET", "/models"),
        ("GET", "/metrics"),
        ("GET", "/docs.json"),
        ("GET", "/nothing"),
        ("GET", "/page/../models"),
    ]:
        assert_refused(locked.request(method, path))


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/healthz", "/page/page.js"])
def test_probes_and_the_page_do_not(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer   {KEY}"},
        {"X-API-Key": KEY},
        {"Authorization": "Basic eDp5", "X-API-Key": KEY},
    ],
)
def test_the_key_opens(locked: httpx.Client, headers: dict[str, str]) -> None:
    sent = {name: value.encode() for name, value in headers.items()}
    response = locked.post("/classify", content=encode((250, 10, 20)), headers=sent)
    assert response.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Bearer {KEY[:-1]}"},
        {"Authorization": "Bearer"},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"X-API-Key": ""},
        {"X-API-Key": KEY.upper()},
    ],
)
def test_another_key_does_not(locked: httpx.Client, headers: dict[str, str]) -> None:
    sent = {name: value.encode() for name, value in headers.items()}
    assert_refused(locked.post("/classify", content=encode((250, 10, 20)), headers=sent))
    assert_refused(locked.post("/classify?api_key=" + KEY, content=b"x", headers=sent))


def test_a_page_of_a_named_origin_may_ask(locked: httpx.Client) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    response = locked.options("/classify", headers=asked)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    refused = locked.post("/classify", headers={"Origin": ORIGIN})
    assert_refused(refused)
    assert refused.headers["access-control-allow-origin"] == ORIGIN
    other = locked.options("/classify", headers={**asked, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.slow
def test_by_default_no_page_of_another_origin_may(client: httpx.Client) -> None:
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    response = client.options("/classify", headers=headers)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]
