"""What says how much this machine, or a part of it, draws: counters of energy, and sensors of power.

Of several that measure the same, the one that covers most comes first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pinnace.latency.device.nvidia import Nvml
from pinnace.latency.device.sysfs import Sysfs

# https://docs.kernel.org/power/powercap/powercap.html
_ZONES = "sys/class/powercap/*rapl*:*"
_HWMON = "sys/class/hwmon/hwmon*"
# https://docs.kernel.org/power/power_supply_class.html
_BATTERIES = "sys/class/power_supply/*"
# https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/SD/PlatformPowerAndPerformance.html
_BOARD_RAILS = ("VDD_IN", "POM_5V_IN")
_MODULE_RAILS = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
_NANO_RAILS = "sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*"


class PowerSource(Protocol):
    """One thing that says what something draws.

    Attributes:
        name: of the sensor.
        covers: what it measures, in words.
        whole: whether it measures the whole machine, so that others are parts of it.
    """

    name: str
    covers: str
    whole: bool

    def begin(self, now: float) -> None:
        """Start to count; `now` is in seconds of any clock that runs evenly."""

    def advance(self, now: float) -> float:
        """The joules since `begin`, of which some came since the last call."""


@dataclass
class Counters:
    """Counters of energy that grow, and begin again at 0 behind their largest value."""

    name: str
    covers: str
    whole: bool
    read: Callable[[], Sequence[float | None]]  # in joules; None for one that did not answer
    ranges: Sequence[float]  # joules at which each begins again; 0 where it does not
    _last: Sequence[float | None] = ()
    _joules: float = 0.0

    def begin(self, now: float) -> None:
        """Read the counters."""
        self._joules = 0.0
        self._last = self.read()

    def advance(self, now: float) -> float:
        """Their growth; a counter that has begun again may do so once between two calls."""
        kept: list[float | None] = []
        for value, last, largest in zip(self.read(), self._last, self.ranges, strict=True):
            if value is not None and last is not None:
                self._joules += value - last if value >= last else value - last + largest
            kept.append(last if value is None else value)
        self._last = kept
        return self._joules


@dataclass
class Watts:
    """A sensor of power: the trapezoids between its readings."""

    name: str
    covers: str
    whole: bool
    read: Callable[[], float | None]
    _last: tuple[float, float] | None = field(default=None, repr=False)
    _joules: float = 0.0

    def begin(self, now: float) -> None:
        """Take the first reading."""
        self._joules = 0.0
        watts = self.read()
        self._last = None if watts is None else (now, watts)

    def advance(self, now: float) -> float:
        """Add what was drawn since the last reading."""
        watts = self.read()
        if watts is not None:
            if self._last is not None:
                before, drawn = self._last
                self._joules += (now - before) * (watts + drawn) / 2
            self._last = (now, watts)
        return self._joules


def find(sysfs: Sysfs, nvml: Nvml | None = None) -> list[PowerSource]:
    """The sources of this machine that can be read now, the one that covers most first."""
    found: list[PowerSource] = [*_rails(sysfs), *_battery(sysfs), *_rapl(sysfs), *_chips(sysfs)]
    for index in range(len(nvml) if nvml is not None else 0):
        found += _gpu(nvml, index) if nvml is not None else []
    return sorted(found, key=lambda source: not source.whole)


def unreadable(sysfs: Sysfs) -> str | None:
    """A sentence where counters are there and this user may not read them."""
    for zone in sysfs.glob(_ZONES):
        file = sysfs.path(f"{zone}/energy_uj")
        if file.exists() and sysfs.number(f"{zone}/energy_uj") is None:
            return (
                "the CPU counts what it draws (RAPL), but this user may not read it; allow it with: "
                "sudo chmod a+r /sys/class/powercap/*/energy_uj"
            )
    return None


def _rapl(sysfs: Sysfs) -> list[PowerSource]:
    parts: dict[str, list[str]] = {"psys": [], "package": []}
    for zone in sysfs.glob(_ZONES):
        name = sysfs.text(f"{zone}/name") or "package"
        # MMIO counts the same package a second time.
        if "mmio" in zone or sysfs.number(f"{zone}/energy_uj") is None:
            continue
        if name == "psys":
            parts["psys"].append(zone)
        # Memory is counted beside its package; cores and graphics are counted in it.
        elif name == "dram" or zone.count(":") == 1:
            parts["package"].append(zone)
    names = {sysfs.text(f"{zone}/name") for zone in parts["package"]}
    covers = {
        "psys": "the whole platform, as its maker wired it",
        "package": "the CPU's packages" + (" and memory" if "dram" in names else "") + ", not the board",
    }
    return [_counters(sysfs, f"RAPL {kind}", covers[kind], zones) for kind, zones in parts.items() if zones]


def _counters(sysfs: Sysfs, name: str, covers: str, zones: Sequence[str]) -> PowerSource:
    def read() -> list[float | None]:
        values = [sysfs.number(f"{zone}/energy_uj") for zone in zones]
        return [None if value is None else value / 1e6 for value in values]

    ranges = [(sysfs.number(f"{zone}/max_energy_range_uj") or 0.0) / 1e6 for zone in zones]
    return Counters(name, covers, name.endswith("psys"), read, ranges)


def _rails(sysfs: Sysfs) -> list[PowerSource]:
    """The supplies of a Jetson, of which one feeds all others, or three feed the module."""
    rails: dict[str, Callable[[], float | None]] = {}
    for chip in sysfs.glob(_HWMON):
        if sysfs.text(f"{chip}/name") == "ina3221":
            for file in sysfs.glob(f"{chip}/in*_label"):
                number = re.sub(r"\D", "", file.rpartition("/")[2])
                label = sysfs.text(file) or ""
                if label.startswith("sum "):  # of the shunt voltages, which is no supply
                    continue
                watts = _volts_times_amperes(sysfs, f"{chip}/in{number}_input", f"{chip}/curr{number}_input")
                if watts() is not None:
                    rails[label] = watts
    for file in sysfs.glob(_NANO_RAILS):  # JetPack 4
        power = file.replace("rail_name_", "in_power") + "_input"
        if sysfs.number(power) is not None:
            rails[sysfs.text(file) or ""] = _scaled(sysfs, power, 1e-3)
    for name in _BOARD_RAILS:
        if name in rails:
            return [Watts(name, "the whole board, at the rail that feeds it", True, rails[name])]
    module = [rails[name] for name in _MODULE_RAILS if name in rails]
    if len(module) == len(_MODULE_RAILS):
        return [Watts(" + ".join(_MODULE_RAILS), "the module, at its three supplies", True, _sum(module))]
    return [Watts(name, f"the rail {name} alone", False, read) for name, read in rails.items()]


def _battery(sysfs: Sysfs) -> list[PowerSource]:
    """What a battery delivers, while it is all that does."""
    for supply in sysfs.glob(_BATTERIES):
        if sysfs.text(f"{supply}/type") != "Battery" or sysfs.text(f"{supply}/status") != "Discharging":
            continue
        read = _scaled(sysfs, f"{supply}/power_now", 1e-6)
        if read() is None:
            # Microvolts and microamperes, where a rail has milli of both.
            product = _volts_times_amperes(sysfs, f"{supply}/voltage_now", f"{supply}/current_now")
            read = _millionth(product)
        if read() is not None:
            name = supply.rpartition("/")[2]
            return [Watts(f"battery {name}", "the whole machine, with its display", True, read)]
    return []


def _chips(sysfs: Sysfs) -> list[PowerSource]:
    """Sensors of hwmon that say a power themselves."""
    found: list[PowerSource] = []
    for chip in sysfs.glob(_HWMON):
        name = sysfs.text(f"{chip}/name") or "hwmon"
        numbers = {re.sub(r"\D", "", file.rpartition("/")[2]) for file in sysfs.glob(f"{chip}/power*_*")}
        for number in sorted(numbers):
            for kind in ("input", "average"):
                file = f"{chip}/power{number}_{kind}"
                if sysfs.number(file) is not None:
                    label = sysfs.text(f"{chip}/power{number}_label") or f"power{number}"
                    covers = f"what the chip {name} measures as {label}"
                    found.append(Watts(f"{name} {label}", covers, False, _scaled(sysfs, file, 1e-6)))
                    break
    return found


def _gpu(nvml: Nvml, index: int) -> list[PowerSource]:
    name, covers = f"NVML GPU {index}", "the GPU with its memory, not the machine"
    if nvml.energy_j(index) is not None:
        return [Counters(name, covers, False, lambda: [nvml.energy_j(index)], [0.0])]
    if nvml.read(index).power_w is not None:
        return [Watts(name, covers, False, lambda: nvml.read(index).power_w)]
    return []


def _scaled(sysfs: Sysfs, file: str, unit: float) -> Callable[[], float | None]:
    return lambda: None if (value := sysfs.number(file)) is None else abs(value) * unit


def _volts_times_amperes(sysfs: Sysfs, volts: str, amperes: str) -> Callable[[], float | None]:
    """Watts of two files, in millivolts and milliamperes."""

    def read() -> float | None:
        u, i = sysfs.number(volts), sysfs.number(amperes)
        return None if u is None or i is None else abs(u * i) * 1e-6

    return read


def _millionth(read: Callable[[], float | None]) -> Callable[[], float | None]:
    return lambda: None if (value := read()) is None else value / 1e6


def _sum(parts: Sequence[Callable[[], float | None]]) -> Callable[[], float | None]:
    def read() -> float | None:
        values = [part() for part in parts]
        known = [value for value in values if value is not None]
        return sum(known) if len(known) == len(values) else None

    return read
