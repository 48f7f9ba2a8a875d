"""Workers that are stopped, parents that are killed, and a grace that is kept."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from pinnace.models.bundle.bundle import Bundle
from pinnace.serving.observability.shared_memory import allocate
from pinnace.serving.workers.server_folder import VARIABLE, make_folder
from support.command_line import PINNACE
from support.tiny_bundle import build_bundle, encode

pytestmark = pytest.mark.slow

RED = (250, 10, 20)


def wait_for(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def workers_of(server: Any) -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process(server.process.pid).children()
    return found


@pytest.fixture
def served(tmp_path: Path) -> Path:
    return build_bundle(tmp_path / "served.bundle")


def replace(folder: Path, turn: int) -> str:
    fresh = build_bundle(folder.with_name(f"{turn}.bundle"), created=f"2026-03-{turn:02}T00:00:00Z")
    folder.rename(folder.with_name(f"{turn}.old"))
    fresh.rename(folder)
    return Bundle.open(folder).version


def reloads(server: Any) -> dict[str, float]:
    lines = httpx.get(f"{server.url}/metrics", timeout=20).text.splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith("pinnace_reloads_total"))
    return {name.partition('outcome="')[2].partition('"')[0]: float(value) for name, _, value in found}


def test_a_stopped_worker_is_seen_passed_over_and_killed_when_the_grace_is_over(
    start_server: Any, served: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = tmp_path_factory.mktemp("files")  # a short name, for sockets are below it
    settings = {"workers": 2, "concurrency": 1, "drain": 0, "grace": 2}
    server = start_server([*PINNACE, "serve", str(served)], folder=files, **settings)
    server.wait_until_ready()

    def versions() -> set[str]:
        answers = [httpx.get(f"{server.url}/models", timeout=20).json() for _ in range(16)]
        return {answer["models"][0]["version"] for answer in answers}

    first = replace(served, 1)
    for _ in range(30):
        os.kill(server.process.pid, signal.SIGHUP)
    wait_for(lambda: versions() == {first})
    assert reloads(server) == {"ok": 1}
    [folder] = files.glob("pinnace-server-*")
    assert not list(folder.glob("*.asked"))

    stopped = workers_of(server)[0]
    stopped.suspend()
    second = replace(served, 2)
    wait_for(lambda: httpx.get(f"{server.url}/readyz", timeout=20).status_code == 503)
    assert httpx.get(f"{server.url}/livez", timeout=20).status_code == 200
    answer = httpx.post(f"{server.url}/models/tiny/reload", timeout=60)
    assert answer.status_code == 200
    assert answer.json() == {
        "model": "tiny",
        "version": second,
        "previous": first,
        "workers": 1,
        "note": f"1 of the workers did not answer (process {stopped.pid}); the reload waits for them",
    }
    assert f"process {stopped.pid}" in server.log
    stopped.resume()
    wait_for(lambda: httpx.get(f"{server.url}/readyz", timeout=20).status_code == 200)
    wait_for(lambda: versions() == {second})
    assert reloads(server) == {"ok": 2}

    stopped.suspend()
    server.process.terminate()
    assert server.process.wait(10) == 0
    assert not stopped.is_running() or stopped.status() == psutil.STATUS_ZOMBIE
    assert "Traceback" not in server.log


def test_what_is_in_flight_when_the_grace_is_over_gets_a_503(start_server: Any) -> None:
    server = start_server(workers=1, concurrency=1, queue=60, timeout=60, drain=0, grace=1)
    server.wait_until_ready()
    slow = encode(RED, (6000, 6000), "PNG")

    def ask() -> int | str:
        try:
            answer = httpx.post(f"{server.url}/classify", content=slow, timeout=60)
        except httpx.HTTPError as error:
            return repr(error)
        if answer.status_code != 200:
            assert answer.json()["error"]["code"] == "overloaded"
            assert "retry-after" in answer.headers
        return answer.status_code

    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(ask) for _ in range(30)]
        wait_for(lambda: any(one.done() for one in asked))
        server.process.terminate()
        assert server.process.wait(10) == 0
        outcomes = [one.result() for one in asked]
    assert set(outcomes) == {200, 503}
    assert outcomes.count(503) > 5
    assert "Traceback" not in server.log


def test_a_parent_that_is_killed_takes_workers_that_start_with_it_and_leaves_nothing(
    start_server: Any, tmp_path: Path
) -> None:
    server = start_server(workers=2, concurrency=1, folder=tmp_path)
    wait_for(lambda: len(workers_of(server)) == 2)
    workers = workers_of(server)
    server.process.kill()  # while they import
    try:
        _, alive = psutil.wait_procs(workers, 30)
        assert not alive
    finally:
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
    left = {file.name for file in tmp_path.iterdir()}
    assert len(left) == 1
    again = start_server(workers=1, concurrency=1, folder=tmp_path)
    again.wait_until_ready()
    [worker] = workers_of(again)
    worker.kill()
    wait_for(lambda: workers_of(again) not in ([], [worker]))
    again.wait_until_ready()
    folders = {file.name for file in tmp_path.iterdir()}
    assert len(folders) == 1
    assert not folders & left
    # A write to memory that has no room on the disk would end a worker with SIGBUS.
    mapped = [file for file in tmp_path.rglob("*") if file.name == "loads" or file.suffix == ".db"]
    assert len(mapped) >= 3
    assert all(file.stat().st_blocks * 512 >= file.stat().st_size > 0 for file in mapped)
    again.stop()
    assert not list(tmp_path.iterdir())


def test_a_folder_is_kept_while_its_parent_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    own = make_folder()
    assert make_folder() == own
    dead, being_made = tmp_path / "pinnace-server-dead", tmp_path / "pinnace-server-young"
    dead.mkdir()
    (dead / "lock").write_text("1")
    being_made.mkdir()
    monkeypatch.delenv(VARIABLE)
    other = make_folder()
    assert {path.name for path in tmp_path.iterdir()} == {own.name, other.name, being_made.name}


def test_space_is_allocated_and_what_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"seven")
    with path.open("r+b") as file:
        allocate(file.fileno(), 100_000)
    assert path.read_bytes() == b"seven" + bytes(100_000 - 5)
    assert path.stat().st_blocks * 512 >= 100_000
