"""A server that answers what a test tells it to."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = {
    "model": "stub",
    "variant": "onnx-fp32",
    "runtime": "abacus",
    "predictions": [{"label": "red", "index": 0, "probability": 0.75}],
    "timing_ms": {"decode": 1, "preprocess": 2, "queue": 3, "infer": 4, "total": 10},
}

Act = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Stub:
    """A real HTTP server in a thread: it does what it is told to, one act for each request; then it answers.

    Attributes:
        acts: what is to come.
        requests: method and path of what has come.
        bodies: what was sent.
        keys: the header Authorization of each, or None.
    """

    url: str = ""
    acts: list[Act] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def plan(self, *acts: Act) -> None:
        self.acts.extend(acts)

    @staticmethod
    def say(status: int, body: object = None, **headers: str) -> Act:
        """Answer with this status and body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()

        def act(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data)

        return act

    @staticmethod
    def refuse(status: int, code: str, message: str, hint: str | None = None, **headers: str) -> Act:
        """Answer as a Pinnace server does when something is wrong."""
        return Stub.say(status, {"error": {"code": code, "message": message, "hint": hint}}, **headers)

    @staticmethod
    def answer(handler: BaseHTTPRequestHandler) -> None:
        """Answer as a Pinnace server does."""
        Stub.say(200, ANSWER)(handler)

    @staticmethod
    def cut(handler: BaseHTTPRequestHandler) -> None:
        """End the connection without a word."""
        handler.close_connection = True

    @staticmethod
    def half(handler: BaseHTTPRequestHandler) -> None:
        """Begin an answer, and end the connection."""
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"model": ')
        handler.close_connection = True

    def hang(self, handler: BaseHTTPRequestHandler) -> None:
        """Be silent until the test is over."""
        self.released.wait(60)
        handler.close_connection = True


class _Server(ThreadingHTTPServer):
    """Does not print that a client which had seen enough has gone away."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def run_stub() -> Iterator[Stub]:
    """The stub, answering on a port of its own."""
    stub = Stub()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # The head and the body are two writes, and Nagle's algorithm would hold the second for 40 ms.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with lock:
                stub.requests.append(f"{self.command} {self.path}")
                stub.bodies.append(body)
                stub.keys.append(self.headers["Authorization"])
                act = stub.acts.pop(0) if stub.acts else Stub.answer
            with contextlib.suppress(OSError):
                act(self)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with _Server(("127.0.0.1", 0), Handler) as http:
        stub.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield stub
        finally:
            stub.released.set()
            http.shutdown()
            thread.join()
