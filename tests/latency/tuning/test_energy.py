"""What a machine draws, from counters as the kernel lays them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinnace.latency.device.sysfs import Sysfs
from pinnace.latency.tuning.energy import Rapl, open_meter
from pinnace.latency.tuning.race import Rules, race
from pinnace.latency.tuning.trial import Trial
from pinnace.models.profile import Configuration

# As recorded on a machine with two packages: each has parts, which are not counted again.
ZONES = ("intel-rapl:0", "intel-rapl:1")
LARGEST = 262_143_328_850


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The power capping framework's folder below a root."""
    folder = tmp_path / "sys/class/powercap"
    for name in (*ZONES, "intel-rapl:0:0", "intel-rapl:1:0"):
        (folder / name).mkdir(parents=True)
        (folder / name / "energy_uj").write_text("1000000\n")
        (folder / name / "max_energy_range_uj").write_text(f"{LARGEST}\n")
    return folder


def test_the_packages_are_counted_and_a_counter_may_begin_again(tree: Path, tmp_path: Path) -> None:
    meter = open_meter(Sysfs(tmp_path))
    assert isinstance(meter, Rapl)
    assert [zone.rpartition("/")[2] for zone in meter.zones] == list(ZONES)
    meter.start()
    (tree / "intel-rapl:0" / "energy_uj").write_text("4000000\n")  # 3 J
    (tree / "intel-rapl:0:0" / "energy_uj").write_text("3000000\n")
    (tree / "intel-rapl:1" / "energy_uj").write_text("500000\n")  # began again: all but 0.5 J of its range
    assert meter.stop() == pytest.approx(3 + (LARGEST - 500_000) / 1e6)


def test_the_most_images_a_joule_win_and_not_the_most_images_a_second() -> None:
    fast, frugal = Configuration("onnx-fp32", "toy", 2), Configuration("onnx-fp32", "toy", 1)
    watts, speeds = {fast: 30.0, frugal: 10.0}, {fast: 200.0, frugal: 120.0}

    class Drawing:
        def measure(self, configuration: Configuration, turn: int, seconds: float) -> Trial:
            images = round(speeds[configuration] * seconds)
            calls = (1000 / speeds[configuration],) * images
            return Trial(turn, seconds, images, calls, watts[configuration] * seconds)

        def release(self, configuration: Configuration) -> None:
            pass

    for objective, winner in (("throughput", fast), ("energy", frugal)):
        result = race([fast, frugal], Drawing(), Rules(objective=objective))  # type: ignore[arg-type]
        assert result.runners[0].configuration == winner
