"""What a machine draws, from counters and sensors as the kernel lays them out."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pinnace.latency.device.energy import EnergyMeter, open_meter, total
from pinnace.latency.device.nvidia import Nvml
from pinnace.latency.device.power import find, unreadable
from pinnace.latency.device.sysfs import Sysfs

# As recorded on a machine with two packages: each has parts, which are not counted again.
ZONES = ("intel-rapl:0", "intel-rapl:1")
LARGEST = 262_143_328_850


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The power capping framework's folder below a root."""
    folder = tmp_path / "sys/class/powercap"
    names = {"intel-rapl:0": "package-0", "intel-rapl:1": "package-1", "intel-rapl:0:0": "core"}
    for zone, name in {**names, "intel-rapl:1:0": "core", "intel-rapl-mmio:0": "package-0"}.items():
        (folder / zone).mkdir(parents=True)
        (folder / zone / "name").write_text(f"{name}\n")
        (folder / zone / "energy_uj").write_text("1000000\n")
        (folder / zone / "max_energy_range_uj").write_text(f"{LARGEST}\n")
    return folder


def test_the_packages_are_counted_and_a_counter_may_begin_again(tree: Path, tmp_path: Path) -> None:
    meter = open_meter(Sysfs(tmp_path))
    assert meter is not None
    meter.start()
    (tree / "intel-rapl:0" / "energy_uj").write_text("4000000\n")  # 3 J
    (tree / "intel-rapl:0:0" / "energy_uj").write_text("3000000\n")
    (tree / "intel-rapl-mmio:0" / "energy_uj").write_text("4000000\n")
    (tree / "intel-rapl:1" / "energy_uj").write_text("500000\n")  # began again: all but 0.5 J of its range
    (drawn,) = meter.stop()
    assert drawn.joules == pytest.approx(3 + (LARGEST - 500_000) / 1e6)
    assert (drawn.sensor, drawn.covers) == ("RAPL package", "the CPU's packages, not the board")


def test_a_counter_may_begin_again_more_than_once(tree: Path, tmp_path: Path) -> None:
    """A meter that read at both ends alone would see 0.2 J of what was 2.2 J."""
    for zone in ZONES:
        (tree / zone / "max_energy_range_uj").write_text("1000000\n")
        (tree / zone / "energy_uj").write_text("0\n")
    meter = EnergyMeter(find(Sysfs(tmp_path)), interval_s=0.002)
    meter.start()
    for step in range(1, 12):
        (tree / "intel-rapl:0" / "energy_uj").write_text(f"{200_000 * step % 1_000_000}\n")
        time.sleep(0.05)
    assert total(meter.stop()) == pytest.approx(2.2)


def test_a_counter_that_does_not_answer_once_has_not_begun_again(tree: Path, tmp_path: Path) -> None:
    (source,) = find(Sysfs(tmp_path))
    source.begin(0.0)
    for content in ("3000000\n", "", "4000000\n"):
        (tree / "intel-rapl:0" / "energy_uj").write_text(content)
        source.advance(1.0)
    assert source.advance(2.0) == pytest.approx(3.0)


def test_memory_is_counted_beside_its_package_and_a_platform_holds_both(tree: Path, tmp_path: Path) -> None:
    for zone, name in (("intel-rapl:0:1", "dram"), ("intel-rapl:2", "psys")):
        (tree / zone).mkdir()
        (tree / zone / "name").write_text(f"{name}\n")
        (tree / zone / "energy_uj").write_text("1000000\n")
    meter = open_meter(Sysfs(tmp_path))
    assert meter is not None
    meter.start()
    for zone, joules in (("intel-rapl:0", 5), ("intel-rapl:0:1", 2), ("intel-rapl:2", 20)):
        (tree / zone / "energy_uj").write_text(f"{1_000_000 * (1 + joules)}\n")
    drawn = meter.stop()
    assert [(each.sensor, round(each.joules)) for each in drawn] == [("RAPL psys", 20), ("RAPL package", 7)]
    assert "and memory" in drawn[1].covers
    assert total(drawn) == pytest.approx(20)


def test_power_is_added_up_between_its_readings() -> None:
    from pinnace.latency.device.power import Watts

    watts = iter((10.0, 20.0, None, 30.0))
    source = Watts("x", "y", True, lambda: next(watts))
    source.begin(100.0)
    assert source.advance(101.0) == 15.0
    assert source.advance(102.0) == 15.0  # it did not answer; the next trapezoid spans two seconds
    assert source.advance(103.0) == 15.0 + 2 * 25.0


def test_a_counter_that_only_root_may_read_is_said(tree: Path, tmp_path: Path) -> None:
    assert unreadable(Sysfs(tmp_path)) is None
    for zone in tree.iterdir():
        (zone / "energy_uj").unlink()
        (zone / "energy_uj").mkdir()  # there, and not to be read, for root too
    assert open_meter(Sysfs(tmp_path)) is None
    assert "sudo chmod a+r" in (unreadable(Sysfs(tmp_path)) or "")


class NvmlError(Exception):
    """As NVML's bindings raise."""


def library(**functions: Any) -> Any:
    return SimpleNamespace(
        NVMLError=NvmlError,
        NVML_CLOCK_SM=1,
        NVML_TEMPERATURE_GPU=0,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUtilizationRates=lambda device: SimpleNamespace(gpu=50),
        nvmlDeviceGetClockInfo=lambda device, kind: 1500,
        nvmlDeviceGetTemperature=lambda device, kind: 60,
        **functions,
    )


def unsupported(device: int) -> float:
    raise NvmlError


@pytest.mark.parametrize("counts", [True, False])
def test_a_gpu_counts_or_says_its_power(tmp_path: Path, counts: bool) -> None:
    millijoules = [1000.0]
    energy = (lambda device: millijoules[0]) if counts else unsupported
    nvml = Nvml(
        library(nvmlDeviceGetTotalEnergyConsumption=energy, nvmlDeviceGetPowerUsage=lambda device: 50_000)
    )
    (source,) = find(Sysfs(tmp_path), nvml)
    assert source.covers == "the GPU with its memory, not the machine"
    source.begin(0.0)
    millijoules[0] += 7000
    assert source.advance(2.0) == (7.0 if counts else 100.0)
