"""Clients that break the protocol, or keep others waiting: each gets an answer, and the next is served."""

from __future__ import annotations

import http.client
import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from support.tiny_bundle import encode

HEAD = b"POST /classify HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(autouse=True)
def _served_afterwards(client: httpx.Client) -> Any:
    yield
    answer = client.post("/classify", content=encode((250, 10, 20)))
    assert answer.json()["predictions"][0]["label"] == "reddish"


def connect(server: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def answer(connection: socket.socket) -> tuple[int, str, str]:
    """Status, code and message; and the connection is closed after it."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    error = json.loads(response.read())["error"]
    assert response.headers["connection"] == "close"
    return response.status, error["code"], error["message"]


def test_headers_a_byte_at_a_time_are_408(server: Any) -> None:
    with connect(server) as connection:
        for byte in b"GET / HTTP/1.1\r\nX: " + b"a" * 100:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.1)
        expected = (408, "request_timeout", "the headers did not arrive within 2 s")
        assert answer(connection) == expected


def test_a_body_a_byte_at_a_time_is_408(server: Any) -> None:
    with connect(server) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        for _ in range(40):
            try:
                connection.sendall(b"x")
            except OSError:
                break
            time.sleep(0.1)
        assert answer(connection) == (408, "request_timeout", "the request did not arrive within 2 s")


def test_a_connection_that_says_nothing_is_closed(server: Any) -> None:
    with connect(server) as connection:
        assert connection.recv(10) == b""


@pytest.mark.parametrize(
    "request_start",
    [
        b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000,
        b"GET /" + b"a" * 40_000,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 8000,
    ],
    ids=["a long header", "a long path", "many headers"],
)
def test_long_headers_are_431(server: Any, request_start: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(request_start)
        expected = (431, "headers_too_large", "the headers are longer than 16000 bytes")
        assert answer(connection) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HELLO\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["TLS", "words", "a negative length", "two lengths", "a length and chunks", "no chunk"],
)
def test_what_is_no_http_is_400(server: Any, text: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(text)
        assert answer(connection) == (400, "malformed_request", "the request is not HTTP/1.1")


def test_a_body_longer_than_it_says(server: Any) -> None:
    image = encode((250, 10, 20))
    with connect(server) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (len(image) - 30) + image)
        data = b""
        while more := connection.recv(65536):
            data += more
    # What the length covers comes first, and then what is left of it.
    assert data.count(b"HTTP/1.1 400 ") == 2
    assert data.index(b'"undecodable_image"') < data.index(b'"malformed_request"')
    assert data.count(b"connection: close") == 1


def test_chunks_without_end_are_413(server: Any) -> None:
    with connect(server) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        sent = 0
        try:
            while sent < 500_000_000:
                connection.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass
        assert 0 < sent < 500_000_000


def test_half_a_form_and_then_nobody(server: Any) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nhalf'
    for _ in range(20):
        with connect(server) as connection:
            connection.sendall(
                HEAD + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9999\r\n\r\n" + form
            )
    time.sleep(0.3)
    assert "Traceback" not in server.log


def test_requests_in_one_go_are_answered_in_order(server: Any) -> None:
    images = [encode(colour) for colour in ((250, 10, 20), (10, 240, 20), (10, 20, 240))]
    with connect(server) as connection:
        head = HEAD + b"Content-Length: %d\r\n\r\n"
        connection.sendall(b"".join(head % len(image) + image for image in images))
        labels = []
        data = b""
        while data.count(b'"timing_ms"') < 3:
            data += connection.recv(65536)
        labels = [part.split(b'"')[0].decode() for part in data.split(b'"predictions":[{"label":"')[1:]]
    assert labels == ["reddish", "greenish", "bluish"]


def test_100_continue_is_said_only_where_the_body_is_wanted(server: Any) -> None:
    image = encode((250, 10, 20))
    with connect(server) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(image))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 Continue\r\n")
        connection.sendall(image)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    with connect(server) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 999999999\r\n\r\n")
        assert answer(connection)[0] == 413


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "DELETE", "HEAD"])
def test_other_methods_are_405(client: httpx.Client, method: str) -> None:
    for path in ("/classify", "/classify_batch"):
        assert client.request(method, path).status_code == 405


def test_many_paths_are_counted_as_one(client: httpx.Client) -> None:
    for number in range(100):
        client.get(f"/nothing/{number}")
        client.post(f"/models/{number}/classify", content=b"x")
    text = client.get("/metrics").text
    assert 'endpoint="other"' in text
    assert 'endpoint="/models/{name}/classify"' in text
    assert "nothing" not in text
    assert "/models/7" not in text


def test_nothing_is_left_open_or_on_disk(
    client: httpx.Client,
    server: Any,
    environment: dict[str, str],
) -> None:
    [worker] = psutil.Process(server.process.pid).children()
    client.post("/classify", content=encode((1, 2, 3)))
    before, files = worker.num_fds(), sorted(Path(environment["TMPDIR"]).iterdir())
    for _ in range(50):
        with connect(server) as connection:
            connection.sendall(HEAD + b"Content-Length: 9999\r\n\r\nhalf")
        with connect(server) as connection:
            connection.sendall(b"\x00")
    client.post("/classify", files={"image": bytes(150_000)})
    deadline = time.monotonic() + 5
    while worker.num_fds() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert worker.num_fds() <= before
    assert sorted(Path(environment["TMPDIR"]).iterdir()) == files
    assert not [name for name in worker.open_files() if Path(name.path).name.startswith("tmp")]
