"""Connections, byte by byte: requests that RFC 9112 knows about, and clients that are slow at every point."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from support.tiny_bundle import build_bundle, encode

RUN = """
import sys
from pathlib import Path
from pinnace.serving.bentoml.launcher import launch
from pinnace.serving.settings import load_settings
launch(load_settings(bundle=(Path(sys.argv[1]),)))
"""
RED = encode((250, 10, 20))
HEAD = b"POST /classify HTTP/1.1\r\nHost: x\r\n"
CLOSE = b"Connection: close\r\n"
IMAGE = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(RED), RED)
LAST = HEAD + CLOSE + b"Content-Length: %d\r\n\r\n%s" % (len(RED), RED)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(RED), RED)
GET = b"GET /livez HTTP/1.1\r\n"
UPGRADE = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
)
SOCKETS = b"Host: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
MANY = b"Host: x\r\n" + b"a: b\r\n" * 3000 + b"\r\n"
SCRIPT = b"GET /static_content/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
BAD = (400, "malformed_request")
OK = (200, "reddish")
MOST = 40
NAME = "evil\x1b]0;owned\x07\x9b31m"


@pytest.fixture(scope="module")
def strict(start_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that is soon full and out of patience, with a name that would colour a terminal."""
    deadlines = {f"{what}_timeout": 1.5 for what in ("header", "upload", "write", "idle")}
    bundle = build_bundle(tmp_path_factory.mktemp("named") / "evil.bundle", name=NAME)
    server = start_server(
        [sys.executable, "-c", RUN, str(bundle)],
        workers=1,
        concurrency=2,
        drain=0,
        max_connections=MOST,
        max_header_bytes=16_000,
        cors_origins="https://good.example",
        **deadlines,
    )
    server.wait_until_ready()
    yield server
    server.stop()


def connect(server: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def ask(server: Any, *parts: bytes, shut: bool = False) -> list[tuple[int, str]]:
    """Status, and the code or the first label, of each answer until the server closes the connection."""
    with connect(server) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(0.05 if len(parts) > 1 else 0)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        data = b""
        while more := connection.recv(65536):
            data += more
    return list(_answers(data))


def _answers(data: bytes) -> Iterator[tuple[int, str]]:
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].split(b":")[1]) if lengths else 0
        body, data = data[:length], data[length:]
        read = json.loads(body) if body[:1] == b"{" else {}
        if "error" in read:
            yield status, read["error"]["code"]
        else:
            yield status, read["predictions"][0]["label"] if "predictions" in read else ""


REQUESTS: dict[str, tuple[list[bytes], list[tuple[int, str]]]] = {
    "an upgrade that is offered": ([HEAD + UPGRADE + IMAGE[len(HEAD) :] + LAST], [OK, OK]),
    "an upgrade, and chunks": ([HEAD + UPGRADE + CHUNKED + CHUNKS + LAST], [OK, OK]),
    "an upgrade, in pieces": (
        [HEAD + UPGRADE[:30], UPGRADE[30:] + IMAGE[len(HEAD) :][:40], IMAGE[len(HEAD) :][40:], LAST],
        [OK, OK],
    ),
    "an upgrade to web sockets": ([GET + SOCKETS + LAST], [(200, ""), OK]),
    "no host": ([GET + b"\r\n"], [BAD]),
    "two hosts": ([GET + b"Host: x\r\nHost: x\r\n\r\n"], [BAD]),
    "a host of two words": ([GET + b"Host: x y\r\n\r\n"], [BAD]),
    "no host, HTTP/1.0": ([b"GET /livez HTTP/1.0\r\n\r\n"], [(200, "")]),
    "no version": ([b"GET /livez\r\n\r\n"], [BAD]),
    "a proxy's request": ([LAST.replace(b"/classify", b"http://x/classify?top_k=1")], [OK]),
    "a proxy's request, no path": ([LAST.replace(b"/classify", b"http://x")], [(405, "method_not_allowed")]),
    "CONNECT": ([b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"], [BAD]),
    "garbage behind": ([IMAGE + b"\x00\x01\r\n\r\n"], [OK, BAD]),
    "garbage behind two": ([IMAGE + IMAGE + b"\x00\x01\r\n\r\n"], [OK, OK, BAD]),
    "a bad chunk behind": ([IMAGE + HEAD + CHUNKED + b"zz\r\n"], [OK, BAD]),
    "no host behind": ([IMAGE + GET + b"\r\n"], [OK, BAD]),
    "a bad chunk size": ([HEAD + CHUNKED + b"5\r\nhello\r\nzz\r\n"], [BAD]),
    "a chunk of 2^68 bytes": ([HEAD + CHUNKED + b"fffffffffffffffff\r\n"], [BAD]),
    "a length and chunks": ([HEAD + b"Content-Length: 5\r\n" + CHUNKED + b"0\r\n\r\n"], [BAD]),
    "a folded header": ([GET + b"Host: x\r\nX: a\r\n b\r\n\r\n"], [BAD]),
    "line feeds only": ([b"GET /livez HTTP/1.1\nHost: x\n\n"], [BAD]),
    "a header that is huge, and whole": (
        [GET + b"Host: x\r\nX: %s\r\n\r\n" % (b"a" * 20_000)],
        [(431, "headers_too_large")],
    ),
    "many headers, and whole": ([GET + MANY], [(431, "headers_too_large")]),
    "a body that is asked for": (
        [HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(RED), RED + LAST],
        [(100, ""), OK, OK],
    ),
    "a body that is not asked for": (
        [HEAD.replace(b"classify", b"nothing") + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"],
        [(404, "not_found")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_answered_as_the_rfc_says(strict: Any, name: str) -> None:
    parts, expected = REQUESTS[name]
    assert ask(strict, *parts) == expected


def test_more_requests_than_may_wait_on_a_connection(strict: Any) -> None:
    answers = ask(strict, (GET + b"Host: x\r\n\r\n") * 200)
    assert {status for status, _ in answers[:-1]} == {200}
    assert answers[-1] == (503, "overloaded")
    assert len(answers) < 80


def test_a_client_that_has_nothing_more_to_say_is_answered(strict: Any) -> None:
    assert ask(strict, IMAGE, shut=True) == [OK]
    assert ask(strict, IMAGE + IMAGE, shut=True) == [OK, OK]
    assert ask(strict, IMAGE[:-30], shut=True) == [BAD]
    assert ask(strict, GET, shut=True) == [BAD]
    assert ask(strict, shut=True) == []


def test_curl_that_offers_http_2(strict: Any, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    image = tmp_path / "red.png"
    image.write_bytes(RED)
    url = f"{strict.url}/classify"
    for given in (["--data-binary", f"@{image}", "-H", "Content-Type: image/png"], ["-F", f"image=@{image}"]):
        done = subprocess.run([curl, "-sS", "--http2", *given, url], capture_output=True, timeout=20)
        if b"nghttp2" in done.stderr or b"does not support" in done.stderr:
            pytest.skip("this curl has no HTTP/2")
        assert json.loads(done.stdout)["predictions"][0]["label"] == "reddish", done


TRICKLE = {
    "after 404": (HEAD.replace(b"classify", b"nothing") + b"Content-Length: 50000\r\n\r\n", b"x"),
    "after 415": (HEAD + b"Content-Type: text/plain\r\nContent-Length: 50000\r\n\r\n", b"x"),
    "after 422": (HEAD.replace(b"classify", b"classify?top_k=x") + b"Content-Length: 50000\r\n\r\n", b"x"),
    "after 404, chunks": (HEAD.replace(b"classify", b"nothing") + CHUNKED, b"1\r\nx\r\n"),
    "in the head": (b"GET / HTTP/1.1\r\nX: ", b"x"),
    "in the body": (HEAD + b"Content-Length: 50000\r\n\r\n", b"x"),
    "behind a request": (IMAGE + b"GET / HTTP/1.1\r\nX: ", b"x"),
    "behind garbage": (IMAGE + b"\x00\r\n\r\n", b"x"),
    "says nothing": (b"", b""),
    "says nothing more": (IMAGE, b""),
    # The answers are more than the system takes for a client that does not read.
    "does not read": (SCRIPT * 20, b""),
}


def ports_of_clients(server: Any) -> set[int]:
    """The ports of the clients whose connections the server still has."""
    [worker] = psutil.Process(server.process.pid).children()
    return {one.raddr.port for one in worker.net_connections("tcp") if one.raddr}


def trickle(connections: list[socket.socket], more: bytes) -> None:
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.send(more)


@pytest.mark.slow
def test_each_that_is_slow_is_closed_at_its_deadline(strict: Any) -> None:
    connections = {}
    for name, (first, _) in TRICKLE.items():
        connections[name] = connect(strict)
        connections[name].sendall(first)
        connections[name].setblocking(False)
    deadline = time.monotonic() + 30
    ports = {one.getsockname()[1]: name for name, one in connections.items()}
    while not ports.keys() & ports_of_clients(strict):
        assert time.monotonic() < deadline
    while still := [ports[port] for port in ports_of_clients(strict) if port in ports]:
        assert time.monotonic() < deadline, still
        for name in still:
            trickle([connections[name]], TRICKLE[name][1])
        time.sleep(0.2)
    for one in connections.values():
        one.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["after 404", "after 404, chunks", "in the body", "does not read"])
def test_twice_as_many_slow_ones_as_there_may_be_shut_nobody_out(strict: Any, name: str) -> None:
    first, more = TRICKLE[name]
    slow = []
    for _ in range(2 * MOST):
        slow.append(connect(strict))
        slow[-1].setblocking(False)
        trickle(slow[-1:], first)

    def status_of_another() -> int:
        time.sleep(0.1)
        trickle(slow, more)
        return ask(strict, LAST)[0][0]

    deadline = time.monotonic() + 10  # none that has only just come is slow
    while status_of_another() != 200:
        assert time.monotonic() < deadline
    assert [status_of_another() for _ in range(8)] == [200] * 8
    for one in slow:
        one.close()


def test_a_form_that_is_cut_short_says_so_wherever_it_is_cut(strict: Any) -> None:
    form = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + RED + b"\r\n--b--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    with httpx.Client(base_url=strict.url) as client:
        for length in (0, 3, 5, 30, 60, 66, 80, len(form) - 9, len(form) - 6, len(form) - 5):
            for path in ("/classify", "/classify_batch"):
                body = form[:length].replace(b'"image"', b'"images"') if "batch" in path else form[:length]
                error = client.post(path, content=body, headers=headers).json()["error"]
                assert error["code"] == "malformed_body", (length, error)
                assert "cut short" in error["message"], (length, error)


def test_a_preflight_that_is_refused_has_our_form(strict: Any) -> None:
    asked = {"Origin": "https://bad.example", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{strict.url}/classify", headers=asked)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "cross_origin_refused"
    assert "origin" in error["message"]
    assert error["hint"]
    asked["Origin"] = "https://good.example"
    assert httpx.options(f"{strict.url}/classify", headers=asked).status_code == 200
    asked["Access-Control-Request-Method"] = "DELETE"
    answer = httpx.options(f"{strict.url}/v2/models/x/infer", headers=asked)
    assert (answer.status_code, answer.json()["code"]) == (400, "cross_origin_refused")


def test_the_log_has_no_line_twice_and_nothing_for_a_terminal(strict: Any) -> None:
    strict.stop()
    lines = strict.log.splitlines()
    assert not [line for line in strict.log if not line.isprintable() and line != "\n"]
    assert any("owned" in line for line in lines)
    assert not [line for line, after in itertools.pairwise(lines) if line[-60:] == after[-60:]]
    assert not [line for line in lines if "Traceback" in line], strict.log
