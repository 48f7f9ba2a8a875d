"""A long run on machines of files: one whose clock falls, and one whose counter of energy begins again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pinnace.latency import metered_load, soak
from pinnace.latency.device.sysfs import Sysfs
from pinnace.latency.device.types import DeviceSample
from pinnace.latency.durations import parse_duration
from pinnace.latency.openers import Opener
from pinnace.latency.report import LatencyReport
from pinnace.latency.reports import markdown, page, spreadsheet
from pinnace.latency.result_parts import Samples, Stages
from pinnace.latency.run import bench
from pinnace.latency.settings import BenchSettings
from pinnace.latency.subjects.base import SubjectInfo
from pinnace.models.errors import UsageError
from pinnace.models.progress import ignore
from support import reports

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_windows")]

CLOCK = "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
COUNTER = "sys/class/powercap/intel-rapl:0/energy_uj"
RANGE = 2_000_000


class Sleeper:
    """Takes as long as the machine's clock lets it: long enough that what a busy machine adds is little."""

    library = at_once = batch = 1
    info = SubjectInfo("m", "s", "onnx-fp32", "sleep", "p", "fp32", "cpu", 1, "infer", {"input": (1,)})

    def __init__(self, clock: Path) -> None:
        self._clock = clock

    def call(self, indices: Sequence[int]) -> None:
        time.sleep(0.01 * 2_400_000 / int(self._clock.read_text()))

    def stages(self) -> Stages:
        return Stages()

    def close(self) -> None:
        pass


@contextmanager
def changing(step: Callable[[], None], every_s: float) -> Iterator[None]:
    end = threading.Event()

    def run() -> None:
        while not end.wait(every_s):
            step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(f"{value}\n")
    part.replace(path)


@pytest.fixture
def machine(tmp_path: Path) -> Sysfs:
    for name, value in {
        "proc/cpuinfo": "processor\t: 0\n",
        "proc/self/status": "Cpus_allowed_list:\t0",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": 60000,
    }.items():
        write(tmp_path / name, value)
    # Kept open by the monitor, so it is written in place.
    (tmp_path / CLOCK).parent.mkdir(parents=True)
    (tmp_path / CLOCK).write_text("2400000")
    return Sysfs(tmp_path)


def run(machine: Sysfs, seconds: float) -> LatencyReport:
    settings = BenchSettings("x", ("single-stream",), seconds, 1, 1, soak_s=seconds)
    opener = Opener("sleeper", lambda scenario: Sleeper(machine.path(CLOCK)))
    return bench([opener], settings, ignore, sysfs=machine)


def test_a_clock_that_falls_is_where_throttling_begins(machine: Sysfs) -> None:
    began = time.monotonic()

    def cool() -> None:
        if time.monotonic() - began > 5:
            with machine.path(CLOCK).open("r+") as clock:  # as long as before, so that no read finds half
                clock.write("1200000")

    with changing(cool, 0.2):
        report = run(machine, 9.0)
    (row,) = report.results
    assert row.soak is not None
    found = row.soak
    assert found.throttling is not None
    assert found.throttling.reason == "the CPU's clock fell from 2400 to 1200 MHz"
    # It fell 5 s after the start, of which the warm-up took a second or so; samples come once a second.
    assert 2 < found.throttling.seconds < 7
    assert found.ratio < 0.8
    assert found.first > found.last
    speeds = [each.throughput for each in found.windows]
    assert max(speeds[-2:]) < min(speeds[:2])
    assert (found.windows[0].cpu_mhz, found.windows[-1].cpu_mhz) == (2400.0, 1200.0)
    assert found.windows[0].hottest_c == 60.0
    assert {"sustained", "clock-dropped"} <= {caveat.code for caveat in row.warnings}
    text = page.render(report)
    assert '<figure class="soak"' in text
    assert "fell from 2400 to 1200 MHz" in text
    assert "## Sustained" in markdown.render(report)
    assert "soak_ratio" in spreadsheet.render(report)


def test_a_counter_that_begins_again_while_a_row_is_timed(
    machine: Sysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metered_load, "IDLE_S", 1.0)
    zone = machine.path(COUNTER).parent
    write(zone / "name", "package-0")
    write(zone / "max_energy_range_uj", RANGE)
    write(zone / "energy_uj", 0)
    began = time.monotonic()

    def draw() -> None:
        """1 W at any time, so that the counter begins again every two seconds."""
        write(zone / "energy_uj", int(1e6 * (time.monotonic() - began)) % RANGE)

    with changing(draw, 0.01):
        report = run(machine, 3.0)
    (used,) = report.results[0].energy
    assert used.joules / used.seconds == pytest.approx(1, rel=0.25)
    assert used.idle_w == pytest.approx(1, rel=0.25)
    assert used.image_j == pytest.approx(used.joules / used.images)
    assert used.images_a_joule == pytest.approx(1 / used.image_j)
    # The idle machine draws as much, so nothing is left above it.
    assert abs(used.image_above_idle_j) < 0.3 * used.image_j
    assert "the CPU&#x27;s packages, not the board" in page.render(report)


def sample(second: float, mhz: float, *throttle: str) -> DeviceSample:
    return DeviceSample(second, cpu_mhz=mhz, throttle=throttle)


def test_what_the_system_says_counts_before_a_clock_falls() -> None:
    samples = [
        sample(s, 2400.0 if s < 8 else 1500.0, *(("under_voltage",) if s >= 5 else ())) for s in range(12)
    ]
    found = soak.throttle_point(samples)
    assert found is not None
    assert (found.seconds, found.reason) == (5, "the system reports under_voltage")


def test_a_clock_that_dips_once_or_rises_is_no_throttling() -> None:
    assert soak.throttle_point([sample(s, 1500.0 if s == 5 else 2400.0) for s in range(12)]) is None
    assert soak.throttle_point([sample(s, 1000.0 + 100 * s) for s in range(12)]) is None


def test_the_first_minute_stands_against_the_last() -> None:
    """Ten minutes: 100 a second in the first half, 80 in the second."""
    starts = [i / 100 for i in range(30_000)] + [300 + i / 80 for i in range(24_000)]
    taken = [10.0] * 30_000 + [12.5] * 24_000
    row = replace(
        reports.result(),
        latencies=Samples(tuple(starts), tuple(taken)),
        samples=54_000,
        duration_s=600.0,
        throughput=90.0,
    )
    found = soak.soak_of(row, ())
    assert found.span_s == 60
    assert (round(found.first, 1), round(found.last, 1)) == (100.0, 80.0)
    assert found.ratio == pytest.approx(0.8)
    assert len(found.windows) == 60
    assert found.throttling is None
    assert soak.caveats_of(found)[0].message.startswith("the last minute ran at 80%")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5m", 90)]
)
def test_a_time(text: str, seconds: float) -> None:
    assert parse_duration(text, "--soak") == seconds


@pytest.mark.parametrize("text", ["", "m", "10x", "ten minutes", "-5s", "0s", "10m later"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="--soak cannot be read as a time"):
        parse_duration(text, "--soak")
