"""Small bodies that cost much to decode: others are answered meanwhile, and memory stays bounded."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from support.tiny_bundle import encode


@pytest.fixture(scope="module")
def one(start_server: Any) -> Iterator[Any]:
    server = start_server(workers=1, concurrency=1, drain=0)
    server.wait_until_ready()
    yield server
    server.stop()


def form(charset: str, value: bytes, end: bytes = b"\r\n--b--\r\n") -> dict[str, Any]:
    body = b'--b\r\nContent-Disposition: form-data; name="top_k"\r\n\r\n' + value
    body += b'\r\n--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body += encode((250, 10, 20)) + end
    type = f"multipart/form-data; boundary=b; charset={charset}"
    return {"content": body, "headers": {"Content-Type": type}}


@pytest.mark.parametrize(
    "charset", ["punycode", "idna", "undefined", "unicode_escape", "utf-7", "hex", "zlib", "x" * 50]
)
def test_other_charsets_are_400_at_once(one: Any, charset: str) -> None:
    answer = httpx.post(f"{one.url}/classify", **form(charset, b"a" * 900_000), timeout=10)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "malformed_body")
    assert error["message"] == f"the charset {charset[:40].replace('_', '-')} is not accepted"


@pytest.mark.parametrize("charset", ["UTF-8", "utf_8", "us-ascii", "ISO-8859-1"])
def test_usual_charsets_are_read(one: Any, charset: str) -> None:
    answer = httpx.post(f"{one.url}/classify", **form(charset, b"2"))
    assert len(answer.json()["predictions"]) == 2


def test_a_form_that_is_cut_short_says_so(one: Any) -> None:
    error = httpx.post(f"{one.url}/classify", **form("utf-8", b"2", end=b"")).json()["error"]
    assert error["code"] == "malformed_body"
    assert error["message"] == "the form is cut short: it ends before its last boundary"


def request(**input: Any) -> bytes:
    return json.dumps({"inputs": [{"name": "image", "datatype": "FP32", **input}]}).encode()


SHAPE = [1, 3, 8, 8]
COSTLY = {
    "strings": request(shape=SHAPE, data=[""] * 1_000_000),
    "one long text and short ones": request(shape=SHAPE, data=["a" * 3_000_000] + [""] * 900),
    "inputs that are none": json.dumps({"inputs": [""] * 1_000_000}).encode(),
    "outputs that are none": json.dumps({"inputs": [], "outputs": [1] * 10_000}).encode(),
    "a shape of texts": request(shape=[""] * 10_000, data=[]),
}


@pytest.mark.parametrize("body", COSTLY.values(), ids=COSTLY)
def test_json_of_the_protocol_costs_little(one: Any, body: bytes) -> None:
    [worker] = psutil.Process(one.process.pid).children()
    start = worker.memory_info().rss
    peak, slowest, done = 0, 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak, slowest
        while not done.is_set():
            asked = time.monotonic()
            httpx.get(f"{one.url}/livez", timeout=60)
            slowest = max(slowest, time.monotonic() - asked)
            peak = max(peak, worker.memory_info().rss - start)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        answer = httpx.post(f"{one.url}/v2/models/tiny/infer", content=body, timeout=60)
    finally:
        done.set()
        thread.join()
    assert answer.status_code in (400, 413, 422), answer.text
    assert peak < 200_000_000
    assert slowest < 5
