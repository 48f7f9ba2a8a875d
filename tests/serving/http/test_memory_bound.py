"""A worker keeps to the bound of memory that the documents state, while many large images come at once."""

from __future__ import annotations

import contextlib
import io
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from support.tiny_bundle import encode

pytestmark = pytest.mark.slow

CONTROLLER = Path("/sys/fs/cgroup/memory")
MEGABYTE = 1_000_000
DECODED = 150 * MEGABYTE
BUFFERED = 10 * MEGABYTE
# The model at work, threads, what the allocator keeps, and pages that it shared with its parent before.
BESIDE = 90 * MEGABYTE
EDGE = 5000  # 100 MB as Pillow holds it


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A group whose memory is counted and bounded."""
    folder = CONTROLLER / f"pinnace-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup of version 1 can be made here: {error}")
    try:
        (folder / "memory.limit_in_bytes").write_text(str(DECODED + BUFFERED + BESIDE))
        yield folder
    finally:
        for process in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (CONTROLLER / "cgroup.procs").write_text(process)
        folder.rmdir()


def test_a_worker_takes_no_more_than_its_budgets(start_server: Any, cgroup: Path) -> None:
    server = start_server(
        workers=1, concurrency=2, drain=0, max_decoded_bytes=DECODED, max_buffered_bytes=BUFFERED
    )
    server.wait_until_ready()
    [worker] = psutil.Process(server.process.pid).children()
    (cgroup / "cgroup.procs").write_text(str(worker.pid))  # what it has at rest is not counted in the group
    large = {}
    for format in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        Image.new("RGB", (EDGE, EDGE), (250, 10, 20)).save(buffer, format)
        large[format] = buffer.getvalue()

    def ask(number: int) -> int:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            return client.post("/classify", content=large[("PNG", "JPEG")[number % 2]]).status_code

    with ThreadPoolExecutor(20) as pool:
        statuses = Counter(pool.map(ask, range(20)))
    assert set(statuses) == {200, 503}, statuses
    assert statuses[200] >= 2
    assert worker.is_running()
    assert httpx.post(f"{server.url}/classify", content=encode((250, 10, 20))).status_code == 200
    assert int((cgroup / "memory.max_usage_in_bytes").read_text()) <= DECODED + BUFFERED + BESIDE
    server.stop()
