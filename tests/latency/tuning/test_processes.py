"""Configurations at work in real processes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pinnace.latency.device.energy import Drawn
from pinnace.latency.tuning import processes
from pinnace.latency.tuning.processes import ProcessMeasurer, memory_left
from pinnace.models.errors import PinnaceError
from pinnace.models.photographs import photographs
from pinnace.models.profile import Configuration
from support.tiny_bundle import build_bundle


class Meter:
    """Has drawn two joules whenever it is asked."""

    def start(self) -> None:
        pass

    def stop(self) -> list[Drawn]:
        return [Drawn("board", "the whole board", True, 2.0, 1.0)]


def test_processes_share_what_is_open_and_one_that_fails_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build_bundle(tmp_path / "tiny.bundle")
    one = Configuration("onnx-fp32", "onnxruntime", batch=2)
    two = dataclasses.replace(one, processes=2)
    with ProcessMeasurer(folder, photographs()[:2], Meter()) as measurer:
        for turn, each in enumerate((one, two)):
            trial = measurer.measure(each, turn, 0.05)
            assert trial.round == turn
            assert trial.joules == 2.0
            assert trial.images == 2 * len(trial.calls_ms)
            assert trial.seconds >= 0.05 / 2
        first, second = measurer._workers
        assert first.opened == second.opened
        assert len(first.opened) == 1
        with pytest.raises(PinnaceError, match="has no variant onnx-int9"):
            measurer.measure(dataclasses.replace(two, variant="onnx-int9"), 0, 0.05)
        assert measurer._workers == [first, second]
        measurer.release(one)
        assert len(first.opened) == 1  # the other runs with the same
        measurer.release(two)
        assert first.opened == second.opened == set()
        # Where memory runs short, what was used longest ago makes room.
        measurer.measure(one, 0, 0.05)
        monkeypatch.setattr(processes, "memory_left", lambda: 0.1)
        other = dataclasses.replace(one, batch=1)
        measurer.measure(other, 0, 0.05)
        assert first.opened == {str(other)}
        assert measurer.measure(one, 1, 0.05).images


def test_the_memory_that_is_left_is_that_of_the_container(tmp_path: Path) -> None:
    assert 0 < memory_left(tmp_path) <= 1
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("990\n")
    (tmp_path / "memory.stat").write_text("anon 900\ninactive_file 40\n")
    assert memory_left(tmp_path) == pytest.approx(0.05)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_left(tmp_path) > 0.05
