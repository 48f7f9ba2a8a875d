"""A bundle that is replaced on disk, under a server of two workers that is under load."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pinnace.models.bundle.bundle import Bundle
from support.command_line import PINNACE
from support.tiny_bundle import build_bundle, encode

pytestmark = pytest.mark.slow

KEY = {"X-API-Key": "open sesame"}
RED = (250, 10, 20)
THREADS = 2


class Shelf:
    """The folder that a server reads, and what can be put into it."""

    def __init__(self, folder: Path, build: Callable[..., Path]) -> None:
        self.folder = folder
        self._build = build
        self._made = 0

    def put(self, **options: Any) -> str:
        """Build a bundle and put it in the place of the one that is there; its version."""
        self._made += 1
        fresh = self._build(
            self.folder.with_name(f"{self._made}.bundle"),
            created=f"2026-02-{self._made:02}T00:00:00Z",
            **options,
        )
        if self.folder.exists():
            self.folder.rename(self.folder.with_name(f"{self._made}.old"))
        fresh.rename(self.folder)
        return Bundle.open(self.folder).version


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    shelf = Shelf(tmp_path_factory.mktemp("shelf") / "tiny.bundle", build_bundle)
    shelf.put()
    return shelf


@pytest.fixture(scope="module")
def server(start_server: Any, shelf: Shelf) -> Iterator[Any]:
    command = [*PINNACE, "serve", str(shelf.folder)]
    settings = {"workers": 2, "concurrency": 1, "drain": 0, "api_key": KEY["X-API-Key"]}
    # As a profile would have it.
    settings |= {"tuned": 1, "variant": "onnx-fp32", "runtime": "onnxruntime"}
    server = start_server(command, **settings)
    server.wait_until_ready()
    yield server
    server.stop()


@pytest.fixture
def load(server: Any) -> Iterator[Counter[tuple[int, str]]]:
    """Requests without a pause, on connections of their own; counted by status and version."""
    seen: Counter[tuple[int, str]] = Counter()
    stop = threading.Event()
    image = encode(RED)

    def ask() -> None:
        while not stop.is_set():
            with httpx.Client(base_url=server.url, timeout=20, headers=KEY) as client:
                for _ in range(10):
                    try:
                        response = client.post("/classify", content=image)
                        seen[response.status_code, response.json().get("version", "")] += 1
                    except httpx.HTTPError as error:
                        seen[0, repr(error)] += 1

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    yield seen
    stop.set()
    for thread in threads:
        thread.join(20)


def reload(server: Any, name: str = "tiny") -> httpx.Response:
    return httpx.post(f"{server.url}/models/{name}/reload", headers=KEY, timeout=60)


def versions(server: Any, asked: int = 16) -> set[str]:
    """What answers, on as many connections: they reach every worker."""
    found = set()
    for _ in range(asked):
        answer = httpx.get(f"{server.url}/models", headers=KEY, timeout=20).json()
        found.add(answer["models"][0]["version"])
    return found


def test_no_request_fails_while_good_and_broken_bundles_are_put_in_place(
    server: Any, shelf: Shelf, load: Counter[tuple[int, str]]
) -> None:
    first = Bundle.open(shelf.folder).version
    assert versions(server) == {first}
    second = shelf.put()
    assert versions(server) == {first}
    response = reload(server)
    assert response.status_code == 200
    assert response.json() == {"model": "tiny", "version": second, "previous": first, "workers": 2}
    assert versions(server) == {second}

    broken = shelf.put(weights=np.ones((5, 3), dtype=np.float32))
    response = reload(server)
    assert response.status_code == 409
    error = response.json()["error"]
    assert error["code"] == "reload_failed"
    assert error["message"] == (
        f"tiny was not reloaded, and version {second} answers on: "
        "onnx-fp32 in onnxruntime does not give the golden outputs here"
    )
    assert "pinnace verify" in error["hint"]
    assert versions(server) == {second}
    load.clear()
    time.sleep(0.3)
    assert {version for _, version in load} == {second}

    third = shelf.put()
    assert reload(server).json()["version"] == third
    load.clear()
    time.sleep(0.3)
    assert {status for status, _ in load} == {200}
    assert sum(load.values()) > THREADS
    assert broken not in {version for _, version in load}
    assert third in {version for _, version in load}


def test_no_request_fails_during_ten_reloads(
    server: Any, shelf: Shelf, load: Counter[tuple[int, str]]
) -> None:
    made = set(versions(server))
    for turn in range(10):
        made.add(shelf.put())
        if turn % 3 == 2:
            (shelf.folder / "model.onnx").write_bytes(b"cut short")
            assert reload(server).status_code == 409
        else:
            assert reload(server).status_code == 200
    assert {status for status, _ in load} == {200}
    assert {version for _, version in load} <= made
    assert len({version for _, version in load}) > 3
    shelf.put()
    assert reload(server).status_code == 200


def test_a_reload_of_what_answers_already_changes_nothing(server: Any) -> None:
    (version,) = versions(server)
    assert reload(server).json() == {"model": "tiny", "version": version, "previous": version, "workers": 2}


@pytest.mark.parametrize("file", ["model.onnx", "labels.txt", "golden/golden.npz"])
def test_a_byte_that_changed_under_the_same_manifest_is_told(server: Any, shelf: Shelf, file: str) -> None:
    (version,) = versions(server)
    path = shelf.folder / file
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    response = reload(server)
    assert response.status_code == 409
    assert f"{path} has changed since it was exported" in response.json()["error"]["message"]
    assert versions(server) == {version}
    path.write_bytes(data)
    assert reload(server).status_code == 200


def test_what_is_no_bundle_and_another_model_are_refused(server: Any, shelf: Shelf) -> None:
    (version,) = versions(server)
    (shelf.folder / "manifest.json").rename(shelf.folder / "aside")
    response = reload(server)
    assert response.status_code == 409
    assert f"{shelf.folder} is not a bundle" in response.json()["error"]["message"]
    shelf.put(name="other")
    response = reload(server)
    assert response.status_code == 409
    assert response.json()["error"]["message"].endswith("the bundle has another model")
    assert versions(server) == {version}
    assert reload(server, "other").status_code == 404
    shelf.put()
    assert reload(server).status_code == 200


def test_of_two_workers_one_says_that_the_profile_has_no_variant_any_more(server: Any, shelf: Shelf) -> None:
    for ask in (lambda: reload(server), lambda: os.kill(server.process.pid, signal.SIGHUP)):
        version = shelf.put(variant="onnx-other")
        ask()
        wait_for(lambda version=version: versions(server) == {version})
        assert (
            server.log.count(f"without its profile: version {version} has no onnx-fp32 in onnxruntime") == 1
        )
    shelf.put()
    assert reload(server).status_code == 200


def test_a_reload_needs_the_key(server: Any) -> None:
    assert httpx.post(f"{server.url}/models/tiny/reload").status_code == 401


def test_a_hangup_of_the_parent_reloads_in_every_worker(
    server: Any, shelf: Shelf, load: Counter[tuple[int, str]]
) -> None:
    (before,) = versions(server)
    shelf.put(weights=np.ones((5, 3), dtype=np.float32))
    os.kill(server.process.pid, signal.SIGHUP)
    wait_for(lambda: server.log.count(f"tiny was not reloaded, and version {before} answers on") >= 2)
    assert versions(server) == {before}
    after = shelf.put()
    os.kill(server.process.pid, signal.SIGHUP)
    wait_for(lambda: versions(server) == {after})
    assert {status for status, _ in load} == {200}


def wait_for(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
