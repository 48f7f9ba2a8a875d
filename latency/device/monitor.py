"""Watches the machine from a thread while something is measured."""

from __future__ import annotations

import threading
import time

from pinnace.latency.device.nvidia import GpuReading, Nvml
from pinnace.latency.device.sensors import Clocks, GpuClock, LoadMeter, Temperatures
from pinnace.latency.device.sysfs import Sysfs
from pinnace.latency.device.tegrastats import Reading, Tegrastats
from pinnace.latency.device.throttling import Throttling
from pinnace.latency.device.types import DeviceSample

INTERVAL_S = 1.0


class DeviceMonitor:
    """Samples clocks, temperatures and load from a thread, once a second.

    A sample is a handful of reads of files that stay open; `cost_s` is what one took, so that a test can say
    whether the sampling would show in what is measured.
    """

    def __init__(
        self,
        sysfs: Sysfs | None = None,
        nvml: Nvml | None = None,
        *,
        gpu: int | None = None,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """Choose what is watched.

        Args:
            sysfs: the machine's files; None means those of the running system.
            nvml: its NVIDIA GPUs, or None where there are none; stays open.
            gpu: which of them is watched; None means the first.
            interval_s: seconds between two samples.
        """
        self._sysfs = sysfs or Sysfs()
        self._nvml = nvml
        self._gpu = gpu or 0
        self._interval = interval_s
        self._samples: list[DeviceSample] = []
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._spent = 0.0

    @property
    def cost_s(self) -> float:
        """Mean seconds that a sample has taken; 0 before the first."""
        return self._spent / len(self._samples) if self._samples else 0.0

    def start(self) -> None:
        """Take the first sample, and go on in a thread."""
        self._samples = []
        self._spent = 0.0
        self._end.clear()
        self._tegrastats = Tegrastats.start(self._interval)
        own = (self._tegrastats.pid,) if self._tegrastats else ()
        self._clocks = Clocks(self._sysfs)
        self._temperatures = Temperatures(self._sysfs)
        self._throttling = Throttling(self._sysfs)
        self._gpu_clock = GpuClock(self._sysfs)
        self._load = LoadMeter(self._sysfs, own)
        self._began = time.perf_counter()
        self._sample()
        self._thread = threading.Thread(target=self._run, name="device monitor", daemon=True)
        self._thread.start()

    def stop(self) -> tuple[DeviceSample, ...]:
        """Take the last sample, end the thread, and return all samples in order; none before `start`."""
        if self._thread is None:
            return ()
        self._end.set()
        self._thread.join()
        self._thread = None
        self._sample()
        if self._tegrastats is not None:
            self._tegrastats.stop()
        for reader in (self._clocks, self._gpu_clock, self._temperatures, self._throttling, self._load):
            reader.close()
        return tuple(self._samples)

    def _run(self) -> None:
        due = self._began
        while True:
            due += self._interval
            if self._end.wait(max(0.0, due - time.perf_counter())):
                return
            self._sample()

    def _sample(self) -> None:
        began = time.perf_counter()
        load = self._load.since()
        gpu = self._nvml.read(self._gpu) if self._nvml is not None else GpuReading()
        jetson = self._tegrastats.latest if self._tegrastats is not None else Reading()
        temperatures = self._temperatures.read() or jetson.temperatures_c
        if gpu.temperature_c is not None:
            temperatures = {**temperatures, "GPU": gpu.temperature_c}
        clock, busy = self._gpu_clock.read()
        if gpu.clock_mhz is not None or clock is None:
            clock = gpu.clock_mhz if gpu.clock_mhz is not None else jetson.gpu_clock_mhz
            busy = gpu.busy if gpu.busy is not None else jetson.gpu_busy
        self._samples.append(
            DeviceSample(
                seconds=round(began - self._began, 3),
                cpu_mhz=self._clocks.mean_mhz(),
                cpu_busy=load.busy if load else None,
                other_load=load.others if load else None,
                stolen=load.stolen if load else None,
                temperatures_c=temperatures,
                gpu_clock_mhz=clock,
                gpu_busy=busy,
                gpu_power_w=gpu.power_w,
                rails_w=jetson.rails_w,
                throttle=tuple(dict.fromkeys((*self._throttling.reasons(), *gpu.throttle))),
            )
        )
        self._spent += time.perf_counter() - began
