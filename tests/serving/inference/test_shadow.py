"""A shadow compares exactly the images that it is given, drops what is too much, and goes with the server."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from pinnace.models.answer import Answer, Prediction, Timing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import BundleError, CheckFailed, UsageError
from pinnace.models.files import sha256
from pinnace.serving.inference.shadow import QUEUE_BYTES, QUEUE_IMAGES, Shadow
from pinnace.serving.inference.shadow_process import start_shadow
from pinnace.serving.settings import load_settings
from support.command_line import PINNACE, CommandLine
from support.errors import refusal
from support.server import Server
from support.tiny_bundle import LABELS, build_bundle, encode

RED, BLUE = (250, 10, 20), (10, 20, 240)
KEY = {"X-API-Key": "secret"}
N = 12  # fewer than may wait, so that none is dropped however slow the shadow is
ANSWER = Answer(
    "tiny", "onnx-fp32", "onnxruntime", (Prediction("reddish", 0, 0.9),), Timing(0, 0, 0, 0, 0), "1"
)


def swap_two_labels(folder: Path) -> str:
    """Give a bundle the names of red and green exchanged: it disagrees on those, and on nothing else."""
    names = [{"reddish": "greenish", "greenish": "reddish"}.get(name, name) for name in LABELS]
    (folder / "labels.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    manifest = Bundle.open(folder).manifest
    files = {**manifest.files, "labels.txt": sha256(folder / "labels.txt")}
    (folder / "manifest.json").write_bytes(dataclasses.replace(manifest, files=files).to_json())
    return Bundle.open(folder).version


class Counts:
    """In the place of the metrics."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.most_bytes = 0

    def shadowed(self, model: str, version: str, shadow: str, outcome: str) -> None:
        self.outcomes[outcome] += 1

    def shadow_distance(self, model: str, version: str, shadow: str, distance: float) -> None:
        pass

    def shadow_bytes(self, count: int) -> None:
        self.most_bytes = max(self.most_bytes, count)


class Slow:
    """A shadow's process that answers when it is let."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.images = 0

    def send_bytes(self, data: bytes) -> None:
        pass

    def recv_bytes(self) -> bytes:
        self.may_answer.wait(20)
        self.images += 1
        return b'{"outcome": "agreed", "version": "2", "distance": 0.0}'

    def close(self) -> None:
        pass


async def offered(shadow: Shadow, images: int, size: int = 10) -> None:
    for _ in range(images):
        shadow.offer(bytes(size), lambda: ANSWER)
    await asyncio.sleep(0.1)


def test_what_comes_while_it_is_busy_is_dropped_and_counted() -> None:
    counts, slow = Counts(), Slow()
    shadow = Shadow(1.0, counts, lambda: slow)  # type: ignore[arg-type]
    asyncio.run(offered(shadow, 1))
    asyncio.run(offered(shadow, 99))
    assert counts.outcomes == {"dropped": 99 - QUEUE_IMAGES}
    slow.may_answer.set()
    deadline = time.monotonic() + 10
    while sum(counts.outcomes.values()) < 100 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert counts.outcomes == {"dropped": 99 - QUEUE_IMAGES, "agreed": QUEUE_IMAGES + 1}
    assert slow.images == QUEUE_IMAGES + 1
    shadow.close()


def test_the_bytes_that_wait_are_bounded_and_what_waits_at_the_end_is_counted() -> None:
    counts, slow = Counts(), Slow()
    shadow = Shadow(1.0, counts, lambda: slow)  # type: ignore[arg-type]
    asyncio.run(offered(shadow, 5, QUEUE_BYTES // 3))
    assert counts.most_bytes <= QUEUE_BYTES
    assert counts.outcomes == {"dropped": 2}
    shadow.close()
    assert counts.outcomes == {"dropped": 4}  # the last one is still being compared
    slow.may_answer.set()


def test_what_waits_for_its_answer_to_be_out_is_bounded_too() -> None:
    counts, slow = Counts(), Slow()
    shadow = Shadow(1.0, counts, lambda: slow)  # type: ignore[arg-type]

    async def at_once(images: int, size: int) -> None:
        for _ in range(images):
            shadow.offer(bytes(size), lambda: ANSWER)

    asyncio.run(at_once(100, 10))
    assert counts.outcomes == {"dropped": 100 - QUEUE_IMAGES}
    assert counts.most_bytes == 10 * QUEUE_IMAGES
    shadow.close()
    counts = Counts()
    shadow = Shadow(1.0, counts, lambda: slow)  # type: ignore[arg-type]
    asyncio.run(at_once(5, QUEUE_BYTES // 3))
    assert counts.outcomes == {"dropped": 2}
    shadow.close()


@pytest.mark.parametrize(("share", "expected"), [(0.1, 10), (0.25, 25), (0.03, 3), (1.0, 100)])
def test_the_share_is_exact(share: float, expected: int) -> None:
    counts = Counts()

    def nobody() -> Any:
        raise OSError

    shadow = Shadow(share, counts, nobody)  # type: ignore[arg-type]

    async def all_of_them() -> None:
        for _ in range(100):
            await offered_quickly(shadow)
        await asyncio.sleep(0.2)

    async def offered_quickly(shadow: Shadow) -> None:
        shadow.offer(b"", lambda: ANSWER)

    asyncio.run(all_of_them())
    shadow.close()
    time.sleep(0.1)
    assert sum(counts.outcomes.values()) == expected


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shadow")
    build_bundle(folder / "a.bundle")
    swap_two_labels(build_bundle(folder / "b.bundle", created="2026-02-02T00:00:00Z"))
    return folder


@pytest.fixture(scope="module")
def server(start_server: Any, shelf: Path) -> Iterator[Server]:
    command = [*PINNACE, "serve", str(shelf / "a.bundle"), "--shadow", str(shelf / "b.bundle")]
    server = start_server(
        [*command, "--shadow-share", "1"], workers=2, concurrency=1, drain=0, api_key=KEY["X-API-Key"]
    )
    server.wait_until_ready()
    yield server
    server.stop()


def counted(server: Server) -> dict[tuple[str, str, str], int]:
    """By version of the bundle, version of the shadow and outcome."""
    text = httpx.get(f"{server.url}/metrics", headers=KEY, timeout=20).text
    rows = re.findall(r"^pinnace_shadow_total\{(.*)\} (\S+)$", text, re.MULTILINE)
    found = {}
    for labels, value in rows:
        named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        found[named["version"], named["shadow"], named["outcome"]] = int(float(value))
    return found


def ask(server: Server, colour: tuple[int, int, int]) -> None:
    """N images, by all the ways in, and wait until all are counted."""
    before = sum(counted(server).values())
    image = encode(colour)
    with httpx.Client(base_url=server.url, timeout=20, headers=KEY) as client:
        for number in range(N):
            if number == 0:
                answer = client.post("/classify_batch", files=[("images", image)])
            elif number == 1:
                size = {"binary_data_size": len(image) + 4}
                given = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": size}
                head = json.dumps({"inputs": [given]}).encode()
                headers = {"Inference-Header-Content-Length": str(len(head))}
                content = head + len(image).to_bytes(4, "little") + image
                answer = client.post("/v2/models/tiny/infer", content=content, headers=headers)
            else:
                answer = client.post("/classify", content=image)
            assert answer.status_code == 200, answer.text
    deadline = time.monotonic() + 20
    while sum(counted(server).values()) < before + N and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.slow
def test_a_planted_disagreement_is_counted_exactly_and_reloads_are_seen(server: Server, shelf: Path) -> None:
    own, shadow = (Bundle.open(shelf / name).version for name in ("a.bundle", "b.bundle"))
    ask(server, RED)
    assert counted(server) == {(own, shadow, "disagreed"): N}
    ask(server, BLUE)
    expected = {(own, shadow, "disagreed"): N, (own, shadow, "agreed"): N}
    assert counted(server) == expected
    # Another shadow, which agrees.
    fresh = build_bundle(shelf / "fresh.bundle", created="2026-03-03T00:00:00Z")
    (shelf / "b.bundle").rename(shelf / "old")
    fresh.rename(shelf / "b.bundle")
    again = Bundle.open(shelf / "b.bundle").version
    ask(server, RED)
    expected |= {(own, again, "agreed"): N}
    assert counted(server) == expected
    # Another bundle answers.
    fresh = build_bundle(shelf / "fresh.bundle", created="2026-04-04T00:00:00Z")
    shutil.copy(fresh / "manifest.json", shelf / "a.bundle")
    newest = Bundle.open(shelf / "a.bundle").version
    assert httpx.post(f"{server.url}/models/tiny/reload", headers=KEY, timeout=60).status_code == 200
    ask(server, RED)
    assert counted(server) == expected | {(newest, again, "agreed"): N}


@pytest.mark.slow
def test_it_goes_with_the_server_however_that_ends(server: Server) -> None:
    children = psutil.Process(server.process.pid).children(recursive=True)
    (shadow,) = [one for one in children if any("shadow_process" in part for part in one.cmdline())]
    assert shadow.nice() == 19
    server.process.kill()
    assert psutil.wait_procs([shadow], timeout=10)[0]


def test_what_cannot_be_a_shadow_is_said(pinnace: CommandLine, tmp_path: Path) -> None:
    outcome = pinnace("serve", "--shadow-share", "0", "--print-settings")
    assert outcome.status == 2
    assert outcome.err.startswith("error: the setting shadow_share (--shadow-share) is not valid")
    a, b = build_bundle(tmp_path / "a.bundle"), build_bundle(tmp_path / "b.bundle", name="b")
    both = load_settings(bundle=(a, b), shadow=b)
    assert refusal(UsageError, start_shadow, both, tmp_path).startswith(
        "a shadow is compared with one bundle"
    )
    nowhere = load_settings(bundle=(a,), shadow=tmp_path / "nowhere")
    assert "is not a bundle" in refusal(BundleError, start_shadow, nowhere, tmp_path)
    (b / "labels.txt").write_text("changed")
    changed = load_settings(bundle=(a,), shadow=b)
    assert "has changed since it was exported" in refusal(CheckFailed, start_shadow, changed, tmp_path)
