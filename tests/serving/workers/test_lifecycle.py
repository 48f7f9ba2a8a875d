"""Starting and stopping real servers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from pinnace.models.errors import CheckFailed
from support.command_line import PINNACE
from support.ports import free_port
from support.processes import kill_on_exit
from support.tiny_bundle import build_bundle, encode

pytestmark = pytest.mark.slow

Start = Callable[..., subprocess.CompletedProcess[str]]

REPOSITORY = Path(__file__).parents[3]
BENTOML = [str(Path(sys.executable).with_name("bentoml")), "serve"]


def finish_in_flight(server: Any, image: bytes, sign: int) -> None:
    """Send the second half of a request after the signal, and see it answered and the server end well."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as connection:
        head = f"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: {len(image)}\r\n\r\n"
        connection.sendall(head.encode() + image[:20])
        time.sleep(0.3)  # the server has begun to read
        os.kill(server.process.pid, sign)
        time.sleep(1.5)
        assert server.process.poll() is None
        connection.sendall(image[20:])
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"label":"reddish"' in answer
    assert server.process.wait(15) == 0
    assert "Traceback" not in server.log
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/livez")


def test_sigterm_lets_the_request_in_flight_finish_and_leaves_nothing_behind(
    start_server: Any, tmp_path: Path
) -> None:
    server = start_server(workers=1, concurrency=1, folder=tmp_path)
    server.wait_until_ready()
    assert len(list(tmp_path.glob("pinnace-server-*"))) == len(list(tmp_path.glob("pinnace-*"))) == 1
    finish_in_flight(server, encode((250, 10, 20)), signal.SIGTERM)
    assert not [
        file.name for file in tmp_path.iterdir() if file.name.startswith(("pinnace-", "bentoml-uds-"))
    ]


def test_bentoml_serve_in_the_repository_root(
    start_server: Any,
    bundle: Path,
) -> None:
    server = start_server(BENTOML, bundle=bundle, workers=1, concurrency=1)
    server.wait_until_ready()
    assert httpx.get(server.url).json()["model"] == "tiny"
    finish_in_flight(server, encode((250, 10, 20)), signal.SIGINT)


def test_the_ready_line_and_a_request_that_never_ends(start_server: Any) -> None:
    server = start_server(workers=1, concurrency=2, grace=1)
    server.wait_until_ready()
    deadline = time.monotonic() + 10
    while "ready on" not in server.log and time.monotonic() < deadline:
        time.sleep(0.05)
    url = f"http://localhost:{server.port}"
    line = f"tiny is ready on {url} (1 x 2 images at once): curl -F image=@cat.jpg {url}/classify\n"
    assert line in server.log
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as connection:
        connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
        time.sleep(0.3)
        server.process.terminate()
        assert server.process.wait(15) == 0


def test_ready_only_when_every_worker_has_warmed_up(start_server: Any) -> None:
    server = start_server(workers=2, concurrency=1)
    late = wait_for_workers(server, 2)[1]
    late.suspend()
    try:
        deadline = time.monotonic() + 30
        response = None
        while response is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                response = httpx.get(f"{server.url}/readyz", timeout=1)
        assert response is not None, server.log
        assert (response.status_code, response.json()) == (
            503,
            {
                "error": {
                    "code": "service_unavailable",
                    "message": "Service is not ready because .__is_ready__() returns False.",
                    "hint": None,
                }
            },
        )
        assert httpx.get(f"{server.url}/livez").status_code == 200
        assert "ready on" not in server.log
    finally:
        late.resume()
    server.wait_until_ready()
    assert all(httpx.get(f"{server.url}/readyz").status_code == 200 for _ in range(10))
    server.stop()


def wait_for_workers(server: Any, count: int) -> list[psutil.Process]:
    """The worker processes, as soon as they run and long before they have loaded anything."""
    parent = psutil.Process(server.process.pid)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        workers = parent.children()
        if len(workers) == count:
            return workers
        time.sleep(0.02)
    return pytest.fail(f"no {count} workers: {server.log}")


def test_metrics_of_two_servers_do_not_mix_and_workers_end_with_their_parent(
    start_server: Any,
    server: Any,
) -> None:
    httpx.post(f"{server.url}/classify", content=encode((1, 2, 3)))
    other = start_server(workers=1, concurrency=1)
    other.wait_until_ready()
    assert 'endpoint="/classify"' in httpx.get(f"{server.url}/metrics").text
    assert 'endpoint="/classify"' not in httpx.get(f"{other.url}/metrics").text

    [worker] = psutil.Process(other.process.pid).children()
    other.process.kill()
    try:
        worker.wait(15)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()


@pytest.fixture
def start(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run something that is expected to fail at once; whatever goes on all the same is killed."""

    def run(command: list[str], **settings: object) -> subprocess.CompletedProcess[str]:
        settings = {"port": free_port(), **settings}
        variables = {f"PINNACE_{name.upper()}": str(value) for name, value in settings.items()}
        process = subprocess.Popen(
            command,
            env={**environment, "NO_COLOR": "1", **variables},
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=30)
        finally:
            kill_on_exit(process)()
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    return run


def test_no_bundle(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "no.bundle"
    result = start([*PINNACE, "serve", str(path)])
    assert result.returncode == 2
    assert result.stderr == (
        f"error: {path} is not a bundle: it has no manifest.json\n"
        f"  help: make one with: pinnace export SOURCE -o {path}\n"
    )
    assert result.stdout == ""


@pytest.mark.parametrize("file", ["model.onnx", "labels.txt", "golden/golden.npz"])
def test_a_changed_byte(start: Start, bundle: Path, tmp_path: Path, file: str) -> None:
    copy = shutil.copytree(bundle, tmp_path / "changed.bundle")
    data = bytearray((copy / file).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / file).write_bytes(data)
    result = start([*PINNACE, "serve", str(copy)])
    assert result.returncode == CheckFailed.exit_status
    assert result.stderr.startswith(f"error: {copy / file} has changed since it was exported\n")
    assert "Traceback" not in result.stderr


def test_a_model_that_answers_otherwise_than_it_did(start: Start, tmp_path: Path) -> None:
    import numpy as np

    broken = build_bundle(tmp_path / "broken.bundle", weights=np.ones((5, 3), dtype=np.float32))
    result = start([*PINNACE, "serve", str(broken)])
    assert result.returncode == CheckFailed.exit_status
    assert result.stderr.startswith(
        "error: onnx-fp32 in onnxruntime does not give the golden outputs here\n"
        "  expected: an answer within 0.0001 of its range\n"
    )


def test_a_port_that_is_taken(start: Start, bundle: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = start([*PINNACE, "serve", str(bundle), "--port", str(port)])
    assert result.returncode == 2
    assert result.stderr == (
        f"error: cannot listen on 127.0.0.1 port {port}: address already in use\n"
        "  help: choose another with --port, or stop what listens there\n"
    )


def test_a_setting_that_is_wrong(start: Start, bundle: Path) -> None:
    result = start([*PINNACE, "serve", str(bundle)], workers="many")
    assert result.returncode == 2
    assert result.stderr.startswith("error: the setting workers (PINNACE_WORKERS) is not valid: ")


@pytest.mark.parametrize(
    ("settings", "status", "text"),
    [
        (
            {"bundle": "/nonexistent.bundle"},
            2,
            "/nonexistent.bundle is not a bundle: it has no manifest.json",
        ),
        ({"timeout": "soon"}, 2, "the setting timeout (PINNACE_TIMEOUT) is not valid: "),
    ],
)
def test_bentoml_serve_says_it_as_well(
    start: Start, settings: dict[str, str], status: int, text: str
) -> None:
    result = start(BENTOML, **settings)
    assert result.returncode == status
    assert f"Error: {text}" in result.stderr
    assert "Traceback" not in result.stderr + result.stdout
