"""What the machine draws, for `--objective energy`: the CPU's own counters (RAPL), else its GPU or board."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from pinnace.latency.device.monitor import DeviceMonitor
from pinnace.latency.device.nvidia import open_nvml
from pinnace.latency.device.sysfs import Sysfs
from pinnace.latency.device.types import DeviceSample

_RAPL = "sys/class/powercap/*-rapl:?"
# The rails of a Jetson that everything is fed from; the others are parts of them.
_INPUTS = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0")
_INTERVAL_S = 0.1


class EnergyMeter(Protocol):
    """Counts joules between `start` and `stop`."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> float:
        """The joules since the start."""


@dataclass
class Rapl:
    """The counters of the CPU's packages, in microjoules; Linux's power capping framework."""

    sysfs: Sysfs
    zones: tuple[str, ...]
    _first: tuple[float, ...] = ()

    def start(self) -> None:
        """Read the counters."""
        self._first = self._read()

    def stop(self) -> float:
        """Their growth; one that began again at 0 has passed its largest value."""
        total = 0.0
        for zone, first, last in zip(self.zones, self._first, self._read(), strict=True):
            largest = self.sysfs.number(f"{zone}/max_energy_range_uj") or 0.0
            total += last - first if last >= first else last - first + largest
        return total / 1e6

    def _read(self) -> tuple[float, ...]:
        return tuple(self.sysfs.number(f"{zone}/energy_uj") or 0.0 for zone in self.zones)


class Sampled:
    """Mean power of the GPU or the board, times the seconds."""

    def start(self) -> None:
        """Begin to sample."""
        self._nvml = open_nvml()
        self._monitor = DeviceMonitor(nvml=self._nvml, interval_s=_INTERVAL_S)
        self._began = time.perf_counter()
        self._monitor.start()

    def stop(self) -> float:
        """The mean of the samples times the seconds; 0 where none has a power."""
        samples = self._monitor.stop()
        seconds = time.perf_counter() - self._began
        if self._nvml is not None:
            self._nvml.close()
        known = [watts for sample in samples if (watts := _watts(sample)) is not None]
        return seconds * sum(known) / len(known) if known else 0.0


def _watts(sample: DeviceSample) -> float | None:
    for name in _INPUTS:
        if name in sample.rails_w:
            return sample.rails_w[name]
    return sample.gpu_power_w


def open_meter(sysfs: Sysfs | None = None) -> EnergyMeter | None:
    """A meter, or None where no sensor of this machine says what it draws."""
    files = sysfs or Sysfs()
    zones = tuple(zone for zone in files.glob(_RAPL) if files.number(f"{zone}/energy_uj") is not None)
    if zones:
        return Rapl(files, zones)
    sampled = Sampled()
    sampled.start()
    return sampled if sampled.stop() > 0 else None
