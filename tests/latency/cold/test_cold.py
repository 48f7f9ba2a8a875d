"""Rows started in fresh processes, with the page cache dropped."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pinnace.latency.cold import page_cache
from pinnace.latency.report import read
from support.tiny_bundle import build_bundle

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_windows")]

BRIEF = (
    "--duration",
    "0.2",
    "--min-queries",
    "5",
    "--rounds",
    "1",
    "--threads",
    "1",
    "--runtime",
    "onnxruntime",
)


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    return build_bundle(tmp_path / "tiny.bundle")


def test_a_cold_start_and_its_memory_stand_in_every_report(
    pinnace, tiny_bundle: Path, tmp_path: Path
) -> None:
    paths = [tmp_path / f"r.{ending}" for ending in ("json", "csv", "html", "md")]
    reports = [word for path in paths for word in ("--report", path)]
    done = pinnace("bench", tiny_bundle, *BRIEF, "--cold", *reports)
    assert done.status == 0, done.err
    assert "cold start and memory" in done.out
    (row,) = read(paths[0]).results
    assert row.cold is not None
    assert row.memory is not None
    cold, memory = row.cold, row.memory
    assert row.file_bytes == (tiny_bundle / "model.onnx").stat().st_size
    assert len(cold.starts) == 5
    for start in (cold, *cold.starts):
        assert start.answer_ms > start.process_ms
        assert min(start.process_ms, start.load_ms, start.first_ms, start.warm_ms) > 0
    # Each part is one of a sum, and nothing is missing from it.
    for start in cold.starts:
        assert start.answer_ms == pytest.approx(start.process_ms + start.load_ms + start.first_ms, abs=0.1)
    assert memory.peak_bytes >= memory.resident_bytes > memory.before_bytes > 10_000_000
    assert memory.pss_bytes is None or memory.pss_bytes <= memory.resident_bytes
    (line,) = csv.DictReader(paths[1].read_text().splitlines())
    assert int(line["peak_bytes"]) == memory.peak_bytes
    assert float(line["cold_load_ms"]) == cold.load_ms
    for page in paths[2:]:
        assert "Cold start and memory" in page.read_text()
        assert cold.cache.split(" (")[0] in page.read_text()


def test_the_peak_is_that_of_the_system(tiny_bundle: Path) -> None:
    """The kernel tells a parent the largest resident size of its children, as /usr/bin/time -v prints it."""
    order = {
        "spawned": 0.0,
        "bundle": str(tiny_bundle),
        "variant": "onnx-fp32",
        "runtime": "onnxruntime",
        "threads": 1,
        "device": None,
        "batch": 1,
    }
    # Through a small process, since the largest size of a child counts that of its parent before exec.
    script = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-m', 'pinnace.latency.cold.child'], stdin=0, check=True,"
        " capture_output=True, text=True)\n"
        "print(done.stdout)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(order), capture_output=True, text=True, check=True
    )
    found, peak = (json.loads(line) for line in done.stdout.split("\n") if line)
    assert found["memory"]["peak_bytes"] == pytest.approx(
        peak * (1 if sys.platform == "darwin" else 1024), rel=0.02
    )


def test_files_leave_the_page_cache(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(os.urandom(1 << 20))
    if page_cache.cached_share(file) != 1.0:
        pytest.skip("this system does not say what is in its page cache")
    # Nobody may write here, so the files alone are dropped.
    how = page_cache.drop([file], tmp_path / "none" / "drop_caches")
    if how == page_cache.KEPT:
        pytest.skip("the temporary folder is in memory, or its file system keeps pages")
    assert how == page_cache.FILES
    assert page_cache.cached_share(file) == 0.0
    assert len(file.read_bytes()) == 1 << 20
    assert page_cache.cached_share(file) == 1.0


def test_a_cache_that_is_still_there_is_said_to_be(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(b"x" * 4096)
    # It takes the order, and does nothing.
    deaf = tmp_path / "drop_caches"
    deaf.touch()
    if page_cache.cached_share(file) is None:
        pytest.skip("this system does not say what is in its page cache")
    assert page_cache.drop([file], deaf) == page_cache.KEPT
    assert deaf.read_text() == "1\n"


def test_a_row_that_cannot_start_is_a_failure(pinnace, tiny_bundle: Path) -> None:
    (tiny_bundle / "model.onnx").write_bytes(b"no model")
    done = pinnace("bench", tiny_bundle, *BRIEF, "--cold")
    assert done.status != 0
    assert re.search(r"model\.onnx|onnx-fp32", done.err)


def test_a_server_has_no_cold_start(pinnace) -> None:
    done = pinnace("bench", "http://127.0.0.1:1", "--cold")
    assert done.status == 2
    assert "--cold starts a bundle" in done.err
