"""What the machine says at one moment: clocks, temperatures, load."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pinnace.latency.device.cpu import allowed_cpus
from pinnace.latency.device.jetson import gpu_devfreq
from pinnace.latency.device.sysfs import Gauges, Sysfs

# A big server has hundreds of CPUs, and to ask each for its clock costs each an interrupt.
_MOST_CLOCKS = 8
_ZONES = "sys/class/thermal/thermal_zone*"
_HWMON = "sys/class/hwmon/hwmon*"
# Chips on the mainboard and in disks have temperatures too, which say nothing of the CPU.
_CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "scpi_sensors", "bcm2711_thermal")
_MHZ = re.compile(r"^cpu MHz\s*:\s*([\d.]+)", re.MULTILINE)


class Clocks:
    """The clocks of the CPUs that this process may use."""

    def __init__(self, sysfs: Sysfs) -> None:
        allowed = allowed_cpus(sysfs)
        step = max(1, -(-len(allowed) // _MOST_CLOCKS))
        names = [f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq" for n in allowed[::step]]
        self._gauges = Gauges(sysfs, names)
        # Without cpufreq, x86 has the clock in a file that is long to read. A virtual machine has there what
        # its host once told it, whatever the clock is.
        known = self._gauges.names or "hypervisor" in (sysfs.text("proc/cpuinfo") or "")
        self._cpuinfo = None if known else sysfs

    def mean_mhz(self) -> float | None:
        """The mean of the clocks now, in MHz, or None where the system does not say."""
        if self._cpuinfo is not None:
            values = [float(value) for value in _MHZ.findall(self._cpuinfo.text("proc/cpuinfo") or "")]
        else:
            values = [v / 1000 for name in self._gauges.names if (v := self._gauges.number(name))]
        return round(sum(values) / len(values), 1) if values else None

    def close(self) -> None:
        """Close the files."""
        self._gauges.close()


class GpuClock:
    """The clock and the load of the GPU of a Tegra, which any user may read."""

    def __init__(self, sysfs: Sysfs) -> None:
        folder = next(iter(gpu_devfreq(sysfs)), None)
        self._clock, self._load = f"{folder}/cur_freq", f"{folder}/device/load"
        self._gauges = Gauges(sysfs, [self._clock, self._load] if folder else [])

    def read(self) -> tuple[float | None, float | None]:
        """MHz, and the share of time in which it worked; None both where either is missing.

        A clock alone says nothing: an idle GPU lowers it.
        """
        hertz, load = self._gauges.number(self._clock), self._gauges.number(self._load)
        return (None, None) if hertz is None or load is None else (hertz / 1e6, load / 1000)

    def close(self) -> None:
        """Close the files."""
        self._gauges.close()


class Temperatures:
    """Temperatures by the sensors' own names: the kernel's thermal zones, else the CPU's hwmon chip."""

    def __init__(self, sysfs: Sysfs) -> None:
        self._names: dict[str, str] = {}
        for zone in sysfs.glob(_ZONES):
            self._add(sysfs.text(f"{zone}/type") or "zone", f"{zone}/temp")
        for chip in sysfs.glob(_HWMON):
            if sysfs.text(f"{chip}/name") in _CPU_CHIPS:
                for sensor in sysfs.glob(f"{chip}/temp*_input"):
                    label = sysfs.text(sensor.replace("_input", "_label")) or sysfs.text(f"{chip}/name")
                    self._add(label or "CPU", sensor)
        self._gauges = Gauges(sysfs, list(self._names))

    def _add(self, label: str, file: str) -> None:
        if label.startswith("PMIC"):  # of a Tegra: always 100, which is no measurement
            return
        taken = set(self._names.values())
        number = 2
        name = label
        while name in taken:
            name = f"{label} {number}"
            number += 1
        self._names[file] = name

    def read(self) -> dict[str, float]:
        """Degrees Celsius by name. A sensor that is switched off, or says what cannot be, is left out."""
        found = {}
        for file in self._gauges.names:
            value = self._gauges.number(file)
            # A powered-down block of a Tegra reports -256 or -273 degrees, or fails.
            if value is not None and -50_000 < value < 200_000:
                found[self._names[file]] = round(value / 1000, 1)
        return found

    def close(self) -> None:
        """Close the files."""
        self._gauges.close()


@dataclass(frozen=True)
class CpuLoad:
    """How busy the CPUs were between two readings.

    Attributes:
        busy: share of the machine's CPUs, 0 to 1.
        others: CPUs that processes kept busy which are not measured.
        stolen: CPUs that the host of a virtual machine gave to others.
    """

    busy: float
    others: float
    stolen: float


class LoadMeter:
    """Load of the machine, and what part of it is not ours, from /proc/stat and /proc/PID/stat."""

    def __init__(self, sysfs: Sysfs, processes: tuple[int, ...] = ()) -> None:
        """Open the counters.

        Args:
            sysfs: where the files are.
            processes: ids of other processes whose load counts as our own.
        """
        names = ["proc/stat", "proc/self/stat", *(f"proc/{process}/stat" for process in processes)]
        self._gauges = Gauges(sysfs, names)
        self._last = self._read()
        self._load: CpuLoad | None = None

    def since(self) -> CpuLoad | None:
        """The load since the last call, or None where the system does not say.

        The system counts in ticks, mostly of 10 ms, so within ten of them the answer stays what it was.
        """
        before, now = self._last, self._read()
        if before is None or now is None or now.total - before.total < 10 * now.cpus:
            return self._load
        self._last = now
        # The first line of /proc/stat adds up all CPUs, so its total passes `cpus` times as fast as time.
        ticks = (now.total - before.total) / now.cpus
        others = max(0.0, (now.busy - before.busy) - (now.own - before.own)) / ticks
        self._load = CpuLoad(
            busy=round(min(1.0, (now.busy - before.busy) / (now.total - before.total)), 3),
            others=round(others, 2),
            stolen=round(max(0.0, now.stolen - before.stolen) / ticks, 2),
        )
        return self._load

    def _read(self) -> _Ticks | None:
        text = self._gauges.text("proc/stat") or ""
        fields = text.partition("\n")[0].split()
        if len(fields) < 9 or fields[0] != "cpu":
            return None
        user, nice, system, idle, iowait, irq, softirq, stolen = map(int, fields[1:9])
        busy = user + nice + system + irq + softirq
        own = 0
        for name in self._gauges.names[1:]:
            # The name in parentheses may hold spaces; utime and stime are the 12th and 13th field after it.
            after = (self._gauges.text(name) or "").rpartition(")")[2].split()
            own += int(after[11]) + int(after[12]) if len(after) > 12 else 0
        cpus = max(1, len(re.findall(r"^cpu\d", text, re.MULTILINE)))
        return _Ticks(busy + idle + iowait + stolen, busy, stolen, own, cpus)

    def close(self) -> None:
        """Close the files."""
        self._gauges.close()


@dataclass(frozen=True)
class _Ticks:
    total: int
    busy: int
    stolen: int
    own: int
    cpus: int
