"""Warnings as functions of the machine's state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pinnace.latency import caveats
from pinnace.latency.device.types import BoardInfo, CpuInfo, DeviceInfo, DeviceSample
from support import reports

CPU = CpuInfo("Model", cpus=4, available=2, governor="performance")
INFO = DeviceInfo("Model", "Linux", "3.11", CPU)


def timeline(**values: list[Any]) -> list[DeviceSample]:
    length = len(next(iter(values.values())))
    return [
        DeviceSample(float(second), **{name: value[second] for name, value in values.items()})
        for second in range(length)
    ]


def codes(samples: list[DeviceSample]) -> list[str]:
    return [caveat.code for caveat in caveats.of_timeline(INFO, samples)]


def test_a_good_machine_has_none() -> None:
    samples = timeline(cpu_mhz=[3000.0] * 6, other_load=[0.05] * 6, stolen=[0.0] * 6)
    assert caveats.of_device(INFO) == ()
    assert codes(samples) == []
    assert codes([]) == []


@pytest.mark.parametrize("governor", ["powersave", "schedutil", "ondemand, performance"])
def test_the_governor(governor: str) -> None:
    (caveat,) = caveats.of_device(replace(INFO, cpu=replace(CPU, governor=governor)))
    assert caveat.code == "governor"
    assert caveat.message == (
        f"the CPU's governor is {governor}, so its clock follows the load; "
        "set it with: sudo cpupower frequency-set -g performance"
    )


def test_jetson_clocks() -> None:
    info = replace(INFO, cpu=replace(CPU, governor="schedutil"))
    loose = replace(info, board=BoardInfo("Jetson", jetson_clocks=False))
    (caveat,) = caveats.of_device(loose)
    assert "sudo jetson_clocks" in caveat.message
    assert caveats.of_device(replace(info, board=BoardInfo("Jetson", jetson_clocks=True))) == ()


def test_throttled() -> None:
    samples = timeline(throttle=[(), ("sw_thermal_slowdown",), ("sw_thermal_slowdown", "sw_power_cap"), ()])
    (caveat,) = caveats.of_timeline(INFO, samples)
    assert caveat.code == "throttled"
    assert caveat.message == ("the clocks were throttled 50% of the time (sw_thermal_slowdown, sw_power_cap)")


@pytest.mark.parametrize(
    ("clocks", "dropped"),
    [
        ([3000.0, 3000.0, 3000.0, 2000.0, 2000.0, 2000.0], True),
        ([3000.0, 2950.0, 2900.0, 2850.0, 2800.0, 2750.0], False),  # less than a tenth
        ([800.0, 3000.0, 3000.0, 3000.0, 3000.0, 3000.0], False),  # it wakes up
        ([3000.0, 3000.0, 2000.0, 3000.0, 3000.0, 3000.0], False),  # a single sample
        ([3000.0, 2000.0], True),
    ],
)
@pytest.mark.parametrize("what", ["cpu_mhz", "gpu_clock_mhz"])
def test_a_clock_that_drops(clocks: list[float], dropped: bool, what: str) -> None:
    found = codes(timeline(**{what: clocks}))
    assert found == (["clock-dropped"] if dropped else [])


def test_an_idle_gpu_may_slow_down() -> None:
    assert codes(timeline(gpu_clock_mhz=[1400.0, 300.0, 300.0], gpu_busy=[0.9, 0.0, 0.0])) == []
    assert codes(timeline(gpu_clock_mhz=[1400.0, 300.0, 300.0], gpu_busy=[0.9, 0.8, 0.8])) == [
        "clock-dropped"
    ]


def test_other_load() -> None:
    (caveat,) = caveats.of_timeline(INFO, timeline(other_load=[None, 1.0, 2.0]))
    assert caveat.code == "other-load"
    assert caveat.message == "other processes kept 1.5 of the machine's 4 CPUs busy meanwhile"
    big = replace(INFO, cpu=replace(CPU, cpus=128))
    assert caveats.of_timeline(big, timeline(other_load=[1.5, 1.5])) == ()
    (caveat,) = caveats.of_timeline(INFO, timeline(stolen=[0.4, 0.4]))
    assert caveat.code == "other-load"


def test_a_row() -> None:
    row = reports.result()
    steady = replace(row, cv=0.05, threads=2)
    assert caveats.of_result(INFO, steady, "cpu") == ()
    (caveat,) = caveats.of_result(INFO, replace(steady, cv=0.0501))
    assert caveat.code == "variation"
    (caveat,) = caveats.of_result(INFO, replace(steady, threads=3))
    assert (caveat.code, caveat.message) == (
        "threads",
        "3 threads share 2 CPUs, so they wait for one another",
    )
    (caveat,) = caveats.of_result(INFO, steady, "cuda")
    assert caveat.code == "provider"
    assert caveat.message == "cuda was requested, but the network ran on cpu (CPUExecutionProvider)"
    assert caveats.of_result(INFO, replace(steady, device="remote"), "cuda") == ()
