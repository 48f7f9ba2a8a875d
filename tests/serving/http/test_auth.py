"""The API key, and pages of other origins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support.ports import free_port
from support.tiny_bundle import encode

KEY = "päss wörd"
ORIGIN = "https://example.com"


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def locked(start_server: Any, metrics_port: int) -> Iterator[httpx.Client]:
    settings = {"api_key": KEY, "api_keys": "second, third\n", "metrics_port": metrics_port}
    server = start_server(
        workers=1, concurrency=1, drain=0, cors_origins=f"{ORIGIN}, https://b.org", **settings
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


def test_each_of_several_keys_opens(locked: httpx.Client) -> None:
    for key, status in [("second", 200), ("third", 200), ("second, third", 401), ("", 401), ("\n", 401)]:
        assert locked.get("/models", headers={"X-API-Key": key.strip()}).status_code == status


def test_the_port_of_the_metrics_needs_no_key_and_has_nothing_else(
    locked: httpx.Client, metrics_port: int
) -> None:
    image = encode((250, 10, 20))
    assert locked.post("/classify", content=image, headers={"X-API-Key": "second"}).status_code == 200
    with httpx.Client(base_url=f"http://127.0.0.1:{metrics_port}", timeout=20) as scraper:
        there = scraper.get("/metrics").text
        inside = locked.get("/metrics", headers={"X-API-Key": "second"}).text
        counted = [line for line in inside.splitlines() if line.startswith("pinnace_images_total")]
        assert counted
        assert set(counted) <= set(there.splitlines())
        assert scraper.post("/classify", content=image).status_code == 405
