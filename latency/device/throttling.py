"""Why the clocks are held down, in the words of the system."""

from __future__ import annotations

import re
import shutil
import subprocess

from pinnace.latency.device.sysfs import Gauges, Sysfs

# A big server has hundreds of CPUs.
_MOST_COUNTS = 16
_COUNTS = "sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count"
_COOLERS = "sys/class/thermal/cooling_device*"
_HWMON = "sys/class/hwmon/hwmon*"
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
_PI = ((0, "under_voltage"), (1, "frequency_capped"), (2, "throttled"), (3, "soft_temperature_limit"))
_SINCE_BOOT = 16  # the same bits, so much higher, say that it has happened since the start
_PI_FILES = (
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/devices/platform/*/*firmware/get_throttled",
)
# https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/SD/PlatformPowerAndPerformance.html
_OVERCURRENT = {1: "under_voltage", 2: "average_over_current", 3: "instantaneous_over_current"}


class Throttling:
    """Intel counts it, a Raspberry Pi has bits, a Tegra has coolers and counts its supply's alarms."""

    def __init__(self, sysfs: Sysfs) -> None:
        self._counts: dict[str, str] = dict.fromkeys(sysfs.glob(_COUNTS)[:_MOST_COUNTS], "thermal_throttle")
        self._states: dict[str, str] = {}
        for cooler in sysfs.glob(_COOLERS):
            kind = sysfs.text(f"{cooler}/type") or "cooling"
            if re.search(r"throttl|alert|cpufreq|devfreq", kind, re.IGNORECASE):
                self._states[f"{cooler}/cur_state"] = kind
        for chip in sysfs.glob(_HWMON):
            name = sysfs.text(f"{chip}/name")
            if name == "soctherm_oc":
                self._counts |= {f"{chip}/oc{n}_event_cnt": word for n, word in _OVERCURRENT.items()}
            elif name == "rpi_volt":
                self._states[f"{chip}/in0_lcrit_alarm"] = "under_voltage"
        self._gauges = Gauges(sysfs, [*self._counts, *self._states])
        self._pi = PiBits(sysfs)
        self._last = self._read_counts()

    def _read_counts(self) -> dict[str, float]:
        known = {name: self._gauges.number(name) for name in self._gauges.names if name in self._counts}
        return {name: value for name, value in known.items() if value is not None}

    def reasons(self) -> tuple[str, ...]:
        """What has held the clocks down since the last call."""
        counts = self._read_counts()
        found = [self._counts[name] for name, count in counts.items() if count > self._last.get(name, count)]
        self._last = counts
        states = (name for name in self._gauges.names if name in self._states)
        found += [self._states[name] for name in states if self._gauges.number(name)]
        return tuple(dict.fromkeys((*found, *self._pi.now())))

    def close(self) -> None:
        """Close the files."""
        self._gauges.close()
        self._pi.close()


class PiBits:
    """The bits of a Raspberry Pi's firmware: from the kernel's file, else from `vcgencmd`."""

    def __init__(self, sysfs: Sysfs) -> None:
        file = next((name for pattern in _PI_FILES for name in sysfs.glob(pattern)), None)
        self._gauges = Gauges(sysfs, [file] if file else [])
        pi = "Raspberry Pi" in (sysfs.text("proc/device-tree/model") or "")
        self._program = shutil.which("vcgencmd") if pi and not self._gauges.names else None

    def _bits(self) -> int:
        text = next((self._gauges.text(name) for name in self._gauges.names), None)
        if text is None and self._program is not None:
            try:
                text = subprocess.run(
                    [self._program, "get_throttled"], capture_output=True, text=True, timeout=2, check=True
                ).stdout
            except (OSError, subprocess.SubprocessError):
                self._program = None  # it may not be used here, so it is not asked again
        # `50005` in the file, `throttled=0x50005` from the program.
        found = re.fullmatch(r"(?:throttled=)?(?:0x)?([0-9a-fA-F]+)", (text or "").strip())
        return int(found[1], 16) if found else 0

    def now(self) -> tuple[str, ...]:
        """What holds the clocks down now."""
        bits = self._bits()
        return tuple(word for bit, word in _PI if bits >> bit & 1)

    def since_boot(self) -> tuple[str, ...]:
        """What has, at any time since the board was started."""
        bits = self._bits()
        return tuple(word for bit, word in _PI if bits >> (bit + _SINCE_BOOT) & 1)

    def close(self) -> None:
        """Close the file."""
        self._gauges.close()
