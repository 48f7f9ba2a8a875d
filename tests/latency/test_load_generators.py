"""MLPerf's LoadGen and our own load ask the same of a subject, and count from when a query was due."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pinnace.latency import load_generators
from pinnace.latency.measure import measure_highest_rate, measure_interleaved, warm_up
from pinnace.latency.result_parts import Stages
from pinnace.latency.scenarios import MULTI_STREAM, OFFLINE, SERVER, SINGLE_STREAM, Plan
from pinnace.latency.settings import BenchSettings
from pinnace.latency.statistics import bound, percentile
from pinnace.latency.subjects.base import SubjectInfo
from pinnace.latency.system_under_test import SystemUnderTest
from pinnace.models.errors import BundleError
from pinnace.models.progress import Event

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_windows")]

LOADS = [load_generators.LoadGen(), load_generators.BuiltinLoadGenerator()]


class Sleeper:
    """Takes two milliseconds for a call, and longer where it is told to."""

    library = 4
    info = SubjectInfo("m", "s", "onnx-fp32", "sleep", "p", "fp32", "cpu", 1, "infer", {"input": (1,)})

    def __init__(self, batch: int = 1, at_once: int = 1) -> None:
        self.batch, self.at_once = batch, at_once
        self.sizes: list[int] = []
        self.stall_at: int | None = None
        self.fail_at: int | None = None

    def call(self, indices: Sequence[int]) -> None:
        self.sizes.append(len(indices))
        assert all(0 <= index < self.library for index in indices)
        if len(self.sizes) == self.fail_at:
            raise BundleError("it broke")
        time.sleep(0.3 if len(self.sizes) == self.stall_at else 0.002)

    def stages(self) -> Stages:
        return Stages()

    def close(self) -> None:
        pass


def settings(**other: object) -> BenchSettings:
    given = {"duration_s": 0.2, "min_queries": 10, "seed": 1, "rounds": 2, "max_p99_ms": 50.0}
    return BenchSettings("x", (), **{**given, **other})


def quiet(event: Event) -> None:
    pass


@pytest.fixture(params=LOADS, ids=lambda load: load.name.split()[0])
def load(request: pytest.FixtureRequest) -> load_generators.LoadGenerator:
    return request.param


@pytest.mark.parametrize("scenario", [SINGLE_STREAM, MULTI_STREAM, OFFLINE], ids=lambda each: each.name)
def test_closed_scenarios(load: load_generators.LoadGenerator, scenario) -> None:
    sleeper = Sleeper(batch=1 if scenario is SINGLE_STREAM else 4)
    (row,) = measure_interleaved(load, scenario, [sleeper], settings(), quiet)
    calls = 2 if scenario is MULTI_STREAM else 1
    assert row.p50_ms >= 2.0 * calls
    assert row.samples == len(row.latencies.latency_ms) >= 10
    assert len(row.rounds) == 2
    assert row.loadgen == load.name
    assert sleeper.sizes[-1] == row.batch == sleeper.batch
    images = {SINGLE_STREAM: row.samples, MULTI_STREAM: 8 * row.samples, OFFLINE: 4 * row.samples}[scenario]
    assert row.throughput == pytest.approx(images / row.duration_s, rel=1e-3)


def test_rows_take_turns_and_the_ratio_is_to_the_first(load: load_generators.LoadGenerator) -> None:
    order = []
    rows = measure_interleaved(load, SINGLE_STREAM, [Sleeper(), Sleeper()], settings(), order.append)
    assert len(order) == 4
    assert rows[0].ratio.median == 1.0
    assert rows[1].ratio.rounds == 2


def test_a_stall_counts_for_all_who_were_due_meanwhile(load: load_generators.LoadGenerator) -> None:
    sleeper = Sleeper()
    sleeper.stall_at = 20
    system = SystemUnderTest(sleeper, images=1, size=1, threaded=True)
    samples = load.run(Plan(SERVER, 1.0, 10, 3, 4, 0.002, rate=100.0), system)
    system.close()
    late = [each for each in samples.latency_ms if each > 50]
    assert len(late) >= 10, "about thirty queries were due in the three tenths of a second"
    assert max(samples.latency_ms) > 290
    assert percentile(sorted(samples.latency_ms), 99) > 250


def test_the_highest_rate_that_holds_is_below_what_the_subject_can_do(
    load: load_generators.LoadGenerator,
) -> None:
    row = measure_highest_rate(load, Sleeper(), settings(duration_s=0.3), quiet)
    assert list(row.rates) == sorted(row.rates, key=lambda point: point.rate)
    assert any(not point.valid for point in row.rates)
    assert 0 < row.throughput < 500


def test_what_fails_under_load_is_raised_and_ends_soon(load: load_generators.LoadGenerator) -> None:
    sleeper = Sleeper()
    sleeper.fail_at = 30
    with pytest.raises(BundleError, match="it broke"):
        measure_interleaved(load, SINGLE_STREAM, [sleeper], settings(), quiet)
    sleeper = Sleeper()
    sleeper.fail_at = 5
    system = SystemUnderTest(sleeper, images=1, size=1, threaded=True)
    load.run(Plan(SERVER, 0.1, 10, 3, 4, 0.002, rate=100.0), system)
    with pytest.raises(BundleError, match="it broke"):
        system.close()


def test_our_bounds_are_those_of_loadgen(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = ""
    read = load_generators._read_trace

    def and_summary(path: Path) -> object:
        nonlocal summary
        summary = path.with_name("mlperf_log_summary.txt").read_text()
        return read(path)

    monkeypatch.setattr(load_generators, "_read_trace", and_summary)
    system = SystemUnderTest(Sleeper(), images=1, size=1, threaded=False)
    samples = LOADS[0].run(Plan(SINGLE_STREAM, 0.5, 70, 1, 4, 0.002), system)
    ordered = sorted(samples.latency_ms)
    said = {line.rpartition(":")[0].strip(): line.rpartition(":")[2] for line in summary.splitlines()}
    for percent in (50, 90, 95, 99):
        assert int(said[f"{percent}.00 percentile latency (ns)"]) == round(1e6 * percentile(ordered, percent))
    (estimate,) = re.findall(r"90\.0th percentile estimate: (\d+)", summary)
    assert int(estimate) == round(1e6 * bound(ordered, 90.0).ms)


def test_warming_up_ends_when_windows_agree_or_says_that_they_do_not() -> None:
    assert warm_up(Sleeper(), 1).windows
    drifting = Sleeper()
    calls = iter(range(10**6))
    drifting.call = lambda indices: time.sleep(0.002 + 0.004 * next(calls))  # type: ignore[method-assign]
    assert not warm_up(drifting, 1, most_s=0.8).stable
