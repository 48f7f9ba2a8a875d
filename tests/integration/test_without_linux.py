"""Without what only Linux has, as on a Mac, a bundle is inspected, classified with, timed and served.

`support/without_linux/sitecustomize.py` takes it away in every interpreter that is started here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from support.command_line import PINNACE
from support.ports import free_port
from support.server import Server, clean_environment
from support.tiny_bundle import LABELS, build_bundle, encode, logits_of

pytestmark = pytest.mark.slow

PRELUDE = Path(__file__).parents[1] / "support" / "without_linux"
COLOUR = (10, 200, 30)
CHECK = """
import os, select, socket, sys
gone = ("sched_getaffinity", "posix_fallocate", "pidfd_open", "copy_file_range", "memfd_create", "pipe2")
assert not [name for name in gone if hasattr(os, name)]
assert not hasattr(select, "epoll") and not hasattr(socket, "SOCK_CLOEXEC")
assert not os.path.exists("/proc/self") and sys.platform == "darwin"
open("/proc/self/stat")
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def mac(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which an interpreter has only what a Mac has."""
    home = tmp_path_factory.mktemp("home")
    asked = home / "asked"
    asked.mkdir()
    known = {"PYTHONPATH": str(PRELUDE), "PINNACE_WITHOUT_LINUX": str(asked)}
    return clean_environment(home / "bentoml") | known


@pytest.fixture(scope="module")
def pinnace(mac: dict[str, str]) -> Run:
    """Run a command there; it has to succeed."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [*PINNACE, *map(str, arguments)]
        done = subprocess.run(words, env=mac, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("bundles") / "tiny.bundle")


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "green.png"
    path.write_bytes(encode(COLOUR))
    return path


@pytest.fixture(scope="module")
def served(
    mac: dict[str, str], tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    port = free_port()
    command = [*PINNACE, "serve", str(tiny_bundle), "--port", str(port), "--workers", "2"]
    server = Server.start(command, port, tmp_path_factory.mktemp("server") / "log", env=mac)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def asked(mac: dict[str, str]) -> dict[int, set[str]]:
    """Which files of the kernel each interpreter asked for, by its process id."""
    files = Path(mac["PINNACE_WITHOUT_LINUX"]).iterdir()
    return {int(file.name): set(file.read_text(encoding="utf-8").split()) for file in files}


def test_it_is_gone(mac: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", CHECK], env=mac, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "FileNotFoundError: [Errno 2] No such file or directory: '/proc/self/stat'"
    )


def test_inspect(pinnace: Run, tiny_bundle: Path) -> None:
    shown = json.loads(pinnace("inspect", tiny_bundle, "--json").stdout)
    assert [variant["name"] for variant in shown["variants"]] == ["onnx-fp32"]


def test_classify(pinnace: Run, tiny_bundle: Path, picture: Path) -> None:
    (answer,) = json.loads(pinnace("classify", picture, "--bundle", tiny_bundle, "--json").stdout)
    assert answer["predictions"][0]["label"] == LABELS[int(np.argmax(logits_of(COLOUR)))]


def test_classify_a_folder_into_a_file(
    pinnace: Run, tiny_bundle: Path, picture: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    pinnace("classify", picture.parent, "--bundle", tiny_bundle, "-o", rows)
    (row,) = map(json.loads, rows.read_text(encoding="utf-8").splitlines())
    assert row["predictions"][0]["label"] == "greenish"


def test_bench_says_which_machine_it_is(pinnace: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    written = [tmp_path / "latency.html", tmp_path / "latency.json"]
    reports = [word for path in written for word in ("--report", path)]
    done = pinnace("bench", tiny_bundle, "--scenario", "all", "--duration", "0.3", *reports)
    assert all(path.stat().st_size > 1000 for path in written)
    report = json.loads(written[1].read_text(encoding="utf-8"))
    device = report["device"]
    assert device["system"].endswith("Darwin 24.6.0 arm64")
    assert device["cpu"]["cpus"] == os.cpu_count()
    assert device["cpu"]["available"] == os.cpu_count()
    assert device["memory_bytes"] > 1e8
    assert "Linux" not in done.stderr
    assert "share 1 CPU" not in done.stderr


def test_doctor(pinnace: Run) -> None:
    found = {each["name"]: each for each in json.loads(pinnace("doctor", "--json").stdout)}
    assert found["runtime onnxruntime"]["problem"] is None


def test_serve(served: Server, pinnace: Run, picture: Path, mac: dict[str, str]) -> None:
    with httpx.Client(base_url=served.url, timeout=20) as client:
        for _ in range(3):
            answer = client.post("/classify", files={"image": picture.read_bytes()}).json()
            assert answer["predictions"][0]["label"] == "greenish"
    (answer,) = json.loads(pinnace("classify", picture, "--url", served.url, "--json").stdout)
    assert answer["predictions"][0]["label"] == "greenish"
    assert set(asked(mac)) >= {served.process.pid}
    served.process.terminate()
    assert served.process.wait(20) == 0
    assert "Traceback" not in served.log
    assert "error" not in served.log.lower()
    assert len([pid for pid, files in asked(mac).items() if "/proc/self/cgroup" in files]) > 3
