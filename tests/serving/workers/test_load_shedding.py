"""What a full server refuses early is refused as the application would."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from pinnace.serving.inference.admission import Admission
from pinnace.serving.workers.load_shedding import LoadShedder
from support.tiny_bundle import encode

pytestmark = pytest.mark.slow

BY_THE_APPLICATION = {"X-Request-ID": "the-application-answers"}


@pytest.fixture
def full_server(small_server: Any) -> Iterator[Any]:
    """The same, with a batch in work that fills it for some seconds."""
    image = encode((250, 10, 20), (2500, 2500), "JPEG")
    files = [("images", image)] * 64
    outcome: list[httpx.Response] = []

    def ask() -> None:
        while not outcome or outcome[-1].status_code == 503:  # a batch comes in when nothing else is
            outcome.append(httpx.post(f"{small_server.url}/classify_batch", files=files, timeout=60))

    batch = threading.Thread(target=ask)
    batch.start()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if httpx.post(f"{small_server.url}/classify", content=b"x").status_code == 503:
            break
        time.sleep(0.1)
    yield small_server
    batch.join()
    assert outcome[-1].status_code == 200
    assert all("predictions" in result for result in outcome[-1].json()["results"])


def without_numbers(body: dict[str, dict[str, str]]) -> dict[str, str]:
    return {key: re.sub(r"\d+", "N", value) for key, value in body["error"].items()}


def refusals(server: Any) -> int:
    """How many the metrics know of."""
    text = httpx.get(f"{server.url}/metrics").text
    counted = re.findall(
        r'^bentoml_service_request_total\{endpoint="/classify",http_response_code="503".*\} (\S+)$',
        text,
        re.M,
    )
    return int(sum(float(count) for count in counted))


def test_both_ways_give_one_answer(full_server: Any) -> None:
    image = encode((1, 2, 3))
    with httpx.Client(base_url=full_server.url) as client:
        before = refusals(full_server)
        both = ({}, BY_THE_APPLICATION) * 3
        replies = [client.post("/classify", content=image, headers=more) for more in both]
        assert [reply.status_code for reply in replies] == [503] * 6
        assert refusals(full_server) == before + 6
    early, late = replies[4:]
    assert without_numbers(early.json()) == without_numbers(late.json())
    assert early.json()["error"]["code"] == "overloaded"
    assert [name for name, _ in early.headers.raw] == [name for name, _ in late.headers.raw]
    assert early.headers["Content-Type"] == late.headers["Content-Type"]
    assert int(early.headers["Retry-After"]) >= 1
    assert late.headers["X-Request-ID"] == BY_THE_APPLICATION["X-Request-ID"]
    ids = {reply.headers["X-Request-ID"] for reply in replies[::2]}
    assert len(ids) == 3


def request(*lines: str, version: str = "1.1", body: bytes = b"x" * 300_000) -> bytes:
    head = [f"POST /classify HTTP/{version}", "Host: x", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def test_the_connection_lives_on(full_server: Any) -> None:
    """Whole bodies that nobody reads; several requests at once; then another path."""
    with socket.create_connection(("127.0.0.1", full_server.port), timeout=10) as connection:
        stream = connection.makefile("rb")
        for _ in range(2):
            connection.sendall(request() + request())
            for _ in range(2):
                status, headers, _ = answer(stream)
                assert status == 503
                assert "connection" not in headers
        small = request(body=b"x")
        connection.sendall(request("X-Request-ID: mine", body=b"x") + small + small)
        ids = [answer(stream)[1]["x-request-id"] for _ in range(3)]
        assert ids[0] == "mine"
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(stream)[0] == 200


@pytest.mark.parametrize("last", [request("Connection: close"), request(version="1.0")])
def test_who_wants_no_other_answer_gets_no_other(full_server: Any, last: bytes) -> None:
    with socket.create_connection(("127.0.0.1", full_server.port), timeout=10) as connection:
        stream = connection.makefile("rb")
        with contextlib.suppress(OSError):
            connection.sendall(last)
        status, headers, _ = answer(stream)
        assert status == 503
        assert headers["connection"] == "close"
        with contextlib.suppress(ConnectionResetError):
            assert stream.read() == b""


@pytest.mark.parametrize(
    "head",
    [
        "Transfer-Encoding: chunked",
        "Content-Length: 99999999999",  # longer than may be
    ],
)
def test_a_body_without_an_end_ends_the_connection(full_server: Any, head: str) -> None:
    with socket.create_connection(("127.0.0.1", full_server.port), timeout=10) as connection:
        connection.sendall(f"POST /classify HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
        status, headers, _ = answer(connection.makefile("rb"))
        assert status == 503
        assert headers["connection"] == "close"


def answer(stream: Any) -> tuple[int, dict[str, str], bytes]:
    """The next answer of a connection: status, headers in lower case, body."""
    status = int(stream.readline().split()[1])
    headers = {}
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, stream.read(int(headers.get("content-length", 0)))


def test_with_an_api_key_the_key_is_asked_for_first(start_server: Any) -> None:
    server = start_server(workers=1, concurrency=1, queue=1, api_key="secret")
    server.wait_until_ready()
    image = encode((250, 10, 20), (2500, 2500), "JPEG")
    key = {"X-API-Key": "secret"}
    statuses = set()

    def ask() -> None:
        statuses.add(httpx.post(f"{server.url}/classify", content=image, headers=key, timeout=60).status_code)

    crowd = [threading.Thread(target=ask) for _ in range(20)]
    for each in crowd:
        each.start()
    strangers = {httpx.post(f"{server.url}/classify", content=b"x").status_code for _ in range(20)}
    for each in crowd:
        each.join()
    assert strangers == {401}
    assert statuses == {200, 503}
    server.stop()


def scope(path: str = "/classify", method: str = "POST", **headers: str) -> dict[str, Any]:
    given = {"content-length": "10", **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in given.items()]
    return {"type": "http", "path": path, "method": method, "headers": raw}


def test_what_is_out_of_the_ordinary_goes_to_the_application() -> None:
    counted: list[tuple[str, int]] = []
    admission = Admission(slots=1, queue=1, timeout=30, max_bytes=1000)
    shedding = LoadShedder(
        admission, ["/classify"], 100, lambda path, status, _: counted.append((path, status))
    )
    assert shedding(scope()) is None  # there is room
    admission.enter(2)
    refusal = shedding(scope())
    assert refusal is not None
    assert refusal.status_code == 503
    for other in (
        scope("/classify_batch"),
        scope(method="GET"),
        scope(content_length="101"),
        scope(transfer_encoding="chunked"),
        scope(expect="100-continue"),
        scope(x_request_id="mine"),
    ):
        assert shedding(other) is None
    assert counted == [("/classify", 503)]
