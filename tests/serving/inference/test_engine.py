"""The engine in this process: concurrency, the queue's time, the self-check, readiness."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.errors import CheckFailed
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.serving.http.request_body import Upload
from pinnace.serving.inference.executor import Executor
from pinnace.serving.inference.layout import Layout, plan
from pinnace.serving.inference.registry import Registry
from pinnace.serving.inference.self_check import self_check
from pinnace.serving.settings import load_settings
from pinnace.serving.workers import readiness, server_folder
from support.tiny_bundle import encode


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_than_concurrency_run_at_once_and_the_rest_queue(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, concurrency: int
) -> None:
    settings = load_settings(bundle=bundle, concurrency=concurrency)
    registry = Registry.open(settings, plan(settings))
    running, most, lock = 0, 0, threading.Lock()
    infer = Classifier.infer

    def slow(self: Classifier, batch: Any) -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.1)
        with lock:
            running -= 1
        return infer(self, batch)

    monkeypatch.setattr(Classifier, "infer", slow)
    upload = Upload(encode((1, 2, 3)), None)

    async def many() -> list[Any]:
        return await asyncio.gather(*(registry.model().classify(upload) for _ in range(6)))

    answers = asyncio.run(many())
    registry.close()
    assert most == concurrency
    queued = sorted(answer.timing_ms.queue for answer in answers)
    assert queued[concurrency - 1] < 90
    assert queued[-1] >= 95 * (6 // concurrency - 1)
    assert all(answer.timing_ms.infer >= 95 for answer in answers)


def test_the_event_loop_goes_on_while_images_are_in_work(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(bundle=bundle, concurrency=1)
    registry = Registry.open(settings, plan(settings))
    infer = Classifier.infer
    monkeypatch.setattr(Classifier, "infer", lambda self, batch: (time.sleep(0.3), infer(self, batch))[1])
    upload = Upload(encode((1, 2, 3)), None)

    async def watch() -> float:
        task = asyncio.ensure_future(registry.model().classify(upload))
        longest = 0.0
        while not task.done():
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            longest = max(longest, time.perf_counter() - before)
        return longest

    assert asyncio.run(watch()) < 0.2
    registry.close()


def test_the_self_check_measures_the_difference(bundle: Path) -> None:
    with Classifier(Bundle.open(bundle), options=RuntimeOptions(threads=1)) as classifier:
        assert self_check(classifier) < 1e-6


@pytest.mark.parametrize("wrong", [0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("tolerance", [None, 1e-4])
def test_the_self_check_refuses_other_logits(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, wrong: float, tolerance: float | None
) -> None:
    with Classifier(Bundle.open(bundle), options=RuntimeOptions(threads=1)) as classifier:
        bound = dataclasses.replace(classifier.variant.tolerance, max_rel=tolerance)
        classifier.variant = dataclasses.replace(classifier.variant, tolerance=bound)
        infer = Classifier.infer
        shift = np.array([wrong, 0, 0, 0, 0], dtype=np.float32)
        monkeypatch.setattr(Classifier, "infer", lambda self, batch: infer(self, batch) + shift)
        with pytest.raises(CheckFailed, match="does not give the golden outputs here"):
            self_check(classifier)


def test_ready_counts_the_living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(server_folder.VARIABLE, str(tmp_path))
    first = readiness.Readiness(2)
    assert not first.all_ready()
    first.mark_warm()
    assert [file.name for file in tmp_path.iterdir()] == [str(os.getpid())]
    assert not first.all_ready()
    (tmp_path / str(os.getppid())).touch()  # a living process, which does not hold the lock
    assert not first.all_ready()
    second = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pinnace.serving.workers.readiness import Readiness; Readiness(2).mark_warm();"
            "print('locked', flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with second:
        assert second.stdout is not None
        assert second.stdout.readline() == b"locked\n"
        assert first.all_ready()
        second.kill()
        second.wait()
        assert not first.all_ready()


def test_without_a_parent_a_worker_is_ready_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(server_folder.VARIABLE, raising=False)
    alone = readiness.Readiness(2)
    assert not alone.all_ready()
    alone.mark_warm()
    assert alone.all_ready()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
def test_the_event_loop_goes_before_the_threads(bundle: Path) -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    executor = Executor(load_settings(bundle=bundle), Layout(1, 2, 1, 2))
    assert executor.submit(priority).result(10) == min(19, priority() + 5)
    executor.close()
