"""Clocks, temperatures and supplies of a Jetson, from the lines of NVIDIA's `tegrastats`.

The formats of JetPack 4 to 7 differ in units and brackets and in little else; one line is one reading:
https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/AT/JetsonLinuxDevelopmentTools/TegrastatsUtility.html
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from dataclasses import dataclass, field

# `GR3D_FREQ 45%@921`, of JetPack 5.1 on `45%@[918,918]`, of Thor `@[1575]`, of no root `45%`.
_GPU = re.compile(r"\bGR3D_FREQ (?:(\d+)%)?(?:@\[?(\d+))?")
# `gpu@41.5C`, of JetPack 7 `gpu@41.5C/41.2C`. Sensors that are switched off report -256C or PMIC@100C.
_TEMPERATURE = re.compile(r"(?<!\S)([A-Za-z]\w*)@(-?[\d.]+)C\b")
# `POM_5V_IN 1750/1628` (JetPack 4), `VDD_IN 2763mW/2846mW` (5 and 6): now, then the average.
_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/\d+(?:mW)?(?:/\d+mW)?(?!\S)")
_NOT_RAILS = {"RAM", "SWAP", "IRAM"}
_BROKEN_SENSORS = {"PMIC"}  # always 100, or 50: the Jetson guides say that it is not a measurement


@dataclass(frozen=True)
class Reading:
    """One line of tegrastats.

    Attributes:
        gpu_busy: share of time in which the GPU worked, 0 to 1, or None.
        gpu_clock_mhz: its clock, or None where tegrastats has no right to read it.
        temperatures_c: by sensor.
        rails_w: what each supply delivers now.
    """

    gpu_busy: float | None = None
    gpu_clock_mhz: float | None = None
    temperatures_c: dict[str, float] = field(default_factory=dict)
    rails_w: dict[str, float] = field(default_factory=dict)


def parse(line: str) -> Reading:
    """Read one line; what is not in it is None or empty."""
    gpu = _GPU.search(line)
    return Reading(
        gpu_busy=int(gpu[1]) / 100 if gpu and gpu[1] else None,
        gpu_clock_mhz=float(gpu[2]) if gpu and gpu[2] else None,
        temperatures_c={
            name: float(value)
            for name, value in _TEMPERATURE.findall(line)
            if float(value) > -50 and name not in _BROKEN_SENSORS
        },
        rails_w={name: int(now) / 1000 for name, now in _RAIL.findall(line) if name not in _NOT_RAILS},
    )


class Tegrastats:
    """`tegrastats` while it runs; `latest` is its last line."""

    def __init__(self, command: list[str]) -> None:
        self._latest = Reading()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._thread = threading.Thread(target=self._follow, name="tegrastats", daemon=True)
        self._thread.start()

    @classmethod
    def start(cls, interval_s: float) -> Tegrastats | None:
        """Start it; None where it is not installed."""
        program = shutil.which("tegrastats")
        if program is None:
            return None
        return cls([program, "--interval", str(round(interval_s * 1000))])

    @property
    def pid(self) -> int:
        """The id of the process, whose load counts as our own."""
        return self._process.pid

    @property
    def latest(self) -> Reading:
        """The last line, or an empty reading before the first."""
        return self._latest

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(timeout=2)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._latest = parse(line)
