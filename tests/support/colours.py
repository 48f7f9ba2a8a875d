"""A small exported bundle, a real server of it, and a server that answers what a test tells it to."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from pinnace.cli import main

NETWORK = """
import torch

def build(num_classes=5):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(8, num_classes),
    )
"""
COLOURS = ("red", "green", "blue", "black", "white")


@dataclass(frozen=True)
class Outcome:
    """What one run of the command line did."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def pinnace(capsys):
    """Run the command line in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = main.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Path:
    """A user's folder: a network, its checkpoint, labels."""
    import torch

    folder = tmp_path_factory.mktemp("project")
    (folder / "net.py").write_text(NETWORK)
    (folder / "labels.txt").write_text("\n".join(COLOURS) + "\n")
    build = runpy.run_path(str(folder / "net.py"))["build"]
    torch.save(build().state_dict(), folder / "weights.pt")
    return folder


@pytest.fixture(scope="session")
def bundle(project: Path) -> Path:
    """The project's bundle, with both variants."""
    out = project / "colours.bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        arguments = ["--arch", "net:build", "--labels", "labels.txt", "--input-size", "32x32"]
        assert main.run(["export", "file:weights.pt", "-o", str(out), *arguments]) == 0
    return out


@pytest.fixture(scope="session")
def server(bundle: Path, tmp_path_factory) -> Iterator[str]:
    """The URL of a real server of the bundle."""
    home = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PINNACE_", "BENTOML_"))}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pinnace.cli.main", "serve", bundle, "--port", str(port)],
            env={**clean, "BENTOML_HOME": str(home / "bentoml")},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                    break
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


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

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A server that answers what the test tells it to."""
    stub = Stub()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

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


@pytest.fixture
def nobody() -> str:
    """The URL of a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
