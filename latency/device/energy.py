"""Joules between two moments, from every sensor of this machine that says what something draws."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pinnace.latency.device.nvidia import Nvml
from pinnace.latency.device.power import PowerSource, find
from pinnace.latency.device.sysfs import Sysfs

INTERVAL_S = 0.1


@dataclass(frozen=True)
class Drawn:
    """What one sensor counted between two moments.

    Attributes:
        sensor: its name.
        covers: what it measures.
        whole: whether that is the whole machine.
        joules: the energy.
        seconds: the time between them.
    """

    sensor: str
    covers: str
    whole: bool
    joules: float
    seconds: float


class EnergyMeter:
    """Counts joules between `start` and `stop`, and reads every sensor ten times a second meanwhile.

    So a counter may begin again as often as it likes, and what says only its power is added up.
    """

    def __init__(self, sources: Sequence[PowerSource], interval_s: float = INTERVAL_S) -> None:
        """Of at least one source."""
        self._sources = sources
        self._interval = interval_s
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = 0.0

    def start(self) -> None:
        """Begin."""
        self._end.clear()
        self._began = time.perf_counter()
        for source in self._sources:
            source.begin(time.perf_counter())
        self._thread = threading.Thread(target=self._run, name="energy meter", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(self._interval):
            for source in self._sources:
                source.advance(time.perf_counter())

    def stop(self) -> list[Drawn]:
        """What each sensor has counted since the start, in the order of the sources."""
        self._end.set()
        assert self._thread is not None
        self._thread.join()
        now = time.perf_counter()
        return [
            Drawn(source.name, source.covers, source.whole, source.advance(now), now - self._began)
            for source in self._sources
        ]


def open_meter(sysfs: Sysfs | None = None, nvml: Nvml | None = None) -> EnergyMeter | None:
    """A meter, or None where no sensor of this machine says what it draws."""
    sources = find(sysfs or Sysfs(), nvml)
    return EnergyMeter(sources) if sources else None


def total(drawn: Sequence[Drawn]) -> float:
    """The joules of the machine, as far as its sensors go: of the whole, else of the parts together."""
    whole = [each.joules for each in drawn if each.whole]
    return whole[0] if whole else sum(each.joules for each in drawn)
