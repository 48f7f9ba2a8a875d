"""`pinnace bench` on a real bundle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pinnace.latency import report
from pinnace.models.errors import CheckFailed
from support.command_line import PINNACE
from support.processes import interruptible

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_windows")]

BRIEF = ("--duration", "0.2", "--min-queries", "5", "--rounds", "2")


def test_every_pair_that_works_here_is_a_row(pinnace, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    done = pinnace("bench", bundle, *BRIEF, "--variant", "all", "--runtime", "all", "--report", out, "--json")
    assert done.status == 0, done.err
    rows = done.json["results"]
    assert len({(row["variant"], row["runtime"]) for row in rows}) == len(rows) > 1
    keys = {"variant", "runtime", "scenario", "p50_ms", "p90_ms", "p99_ms", "throughput", "samples"}
    assert keys <= set(rows[0])
    assert done.json["device"]["cpu"]["cpus"] >= 1
    assert rows[0]["latencies"]["latency_ms"] == []
    whole = report.read(out)
    assert len(whole.results[0].latencies.latency_ms) == whole.results[0].samples
    assert [row.ratio.baseline for row in whole.results] == [whole.results[0].row] * len(rows)
    # The source was a file, and the bundle does not hold it.
    skipped = [caveat["message"] for caveat in done.json["warnings"] if caveat["code"] == "skipped"]
    assert any("weights.pt" in message for message in skipped), done.json["warnings"]


def with_source(bundle: Path, folder: Path, source: str) -> Path:
    """A copy of the bundle that says it comes from elsewhere."""
    copy = shutil.copytree(bundle, folder / "copy.bundle")
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "source": source}))
    return copy


def test_the_eager_network_is_a_row_of_everything(pinnace, bundle: Path, tmp_path: Path) -> None:
    copy = with_source(bundle, tmp_path, "torchvision:squeezenet1_1@none")
    done = pinnace("bench", copy, *BRIEF, "--variant", "all", "--runtime", "all", "--json")
    assert done.status == 0, done.err
    rows = {row["variant"]: row for row in done.json["results"]}
    eager = rows["eager"]
    assert (eager["runtime"], eager["precision"], eager["device"]) == ("torch", "fp32", "cpu")
    # Squeezenet, of which each operation is asked for by Python, and three layers in one graph.
    assert eager["p50_ms"] > rows["onnx-fp32"]["p50_ms"]
    alone = pinnace("bench", copy, *BRIEF, "--variant", "eager", "--json")
    assert [row["variant"] for row in alone.json["results"]] == ["eager"]


def test_a_source_that_cannot_be_loaded_again_is_said(pinnace, bundle: Path) -> None:
    alone = pinnace("bench", bundle, *BRIEF, "--variant", "eager")
    assert alone.status != 0
    assert "weights.pt" in alone.err


def test_a_sweep_measures_every_combination(pinnace, bundle: Path) -> None:
    # As it is written in the documents: the shell makes two words of it.
    sweep = ("--sweep", "batch=1,2", "threads=1,2")
    done = pinnace(
        "bench", bundle, *BRIEF, "--variant", "onnx-fp32", "--runtime", "onnxruntime", *sweep, "--json"
    )
    assert done.status == 0, done.err
    assert [(row["batch"], row["threads"]) for row in done.json["results"]] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert done.json["settings"]["sweep"] == {"batch": [1, 2], "threads": [1, 2]}


@pytest.mark.parametrize(
    "arguments",
    [("--sweep", "batch=0"), ("--sweep", "batch"), ("--sweep", "batch=1 batch=2"), ("--sweep", "speed=1")],
)
def test_a_sweep_that_cannot_be_read(pinnace, bundle: Path, arguments: tuple[str, ...]) -> None:
    done = pinnace("bench", bundle, *arguments)
    assert done.status == 2
    assert "--sweep cannot be read" in done.err


def test_a_row_that_fails_leaves_the_others_and_ends_with_1(
    pinnace, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pinnace.models.runtimes.torchscript import TorchScriptRuntime

    calls = []

    def break_down(self: object, feeds: object) -> None:
        calls.append(feeds)
        raise CheckFailed("it broke")

    monkeypatch.setattr(TorchScriptRuntime, "_run", break_down)
    out = tmp_path / "r.json"
    every = ("--variant", "all", "--report", out)
    done = pinnace("bench", bundle, *BRIEF, *every)
    assert calls
    assert done.status == 1
    assert "torchscript-fp32 torchscript under single-stream has no figures" in done.err
    assert "onnx-fp32" in done.out
    whole = report.read(out)
    (failure,) = whole.failures
    assert (failure.scenario, failure.message) == ("single-stream", "it broke")
    assert "torchscript-fp32" not in {row.variant for row in whole.results}


def test_the_table_names_the_scenarios(pinnace, bundle: Path) -> None:
    done = pinnace("bench", bundle, *BRIEF, "--scenario", "single-stream,offline", "--threads", "1")
    assert done.status == 0, done.err
    assert "single-stream, batch 1, 1 thread, ms, infer alone" in done.out
    assert "offline, batch 8" in done.out


def test_end_to_end_splits_the_stages(pinnace, bundle: Path) -> None:
    done = pinnace("bench", bundle, *BRIEF, "--end-to-end", "--json")
    (row,) = done.json["results"]
    stages = row["stages"]
    assert row["timed"] == "end-to-end"
    assert 0 < stages["decode"] + stages["preprocess"] + stages["compute"] < 2 * row["p50_ms"]


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("--scenario", "fast"), 2, "there is no such scenario"),
        (("--report", "r.doc"), 2, "r.doc does not have the suffix of a report"),
        (("--variant", "onnx-fp8"), 2, "has no variant onnx-fp8"),
        (("--runtime", "abacus"), 2, "there is no runtime abacus"),
        (
            ("--variant", "onnx-fp32", "--runtime", "torchscript"),
            3,
            "nothing on this machine can run onnx-fp32",
        ),
        ((*BRIEF, "--fail-above", "0.001"), 1, "the 99th percentile of"),
    ],
)
def test_what_is_wrong_is_a_sentence(pinnace, bundle: Path, arguments, status: int, sentence: str) -> None:
    done = pinnace("bench", bundle, *arguments)
    assert done.status == status
    assert sentence in done.err
    if status == 1:
        assert "onnx-fp32" in done.out


def test_another_process_at_work_raises_its_warning(pinnace, bundle: Path) -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        done = pinnace(
            "bench",
            bundle,
            *BRIEF[2:],
            "--duration",
            "1",
            "--threads",
            "1",
            "--variant",
            "onnx-fp32",
            "--json",
        )
    finally:
        busy.kill()
        busy.wait()
    assert done.status == 0, done.err
    (row,) = done.json["results"]
    assert "other-load" in [caveat["code"] for caveat in row["warnings"]]


@pytest.mark.parametrize("scenario", ["single-stream", "server"])
def test_ctrl_c_ends_it_without_a_crash(bundle: Path, scenario: str) -> None:
    # A load that raised through LoadGen's own code would end in a segmentation fault.
    command = [*PINNACE, "bench", str(bundle), "--scenario", scenario]
    with interruptible():
        process = subprocess.Popen(
            [*command, "--duration", "4", "--progress"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    assert process.stderr is not None
    shown = b""
    while f"({scenario[:6]}".encode() not in shown:  # where the runtime's name is long, the line ends there
        shown += os.read(process.stderr.fileno(), 4096) or pytest.fail("it ended before it was asked to")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
