"""A body of JSON ends in a newline, so that the prompt after `curl` has its own line."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from support.server import Server

pytestmark = pytest.mark.slow

CAT = Path(__file__).parents[3] / "models" / "photographs" / "cat.jpg"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/models", 200),
        ("GET", "/docs.json", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/v2", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/v2/models/tiny", 200),
        ("POST", "/v2/models/tiny/infer", 400),
        ("POST", "/classify", 200),
        ("POST", "/embed", 422),
    ],
)
def test_an_answer_of_json_ends_in_a_newline(server: Server, method: str, path: str, status: int) -> None:
    image = CAT.read_bytes() if method == "POST" and "v2" not in path else None
    answer = httpx.request(method, f"{server.url}{path}", content=image)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.content.endswith(b"}\n")
    assert len(answer.content) == int(answer.headers["content-length"])
