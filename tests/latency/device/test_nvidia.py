"""NVIDIA's GPUs, through an imitation of `pynvml`: there is none in the machines that run these tests."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pinnace.latency.device.describe import describe
from pinnace.latency.device.monitor import DeviceMonitor
from pinnace.latency.device.nvidia import open_nvml


class ImitationError(Exception):
    """As `pynvml.NVMLError`."""


class Imitation(ModuleType):
    """What `pynvml` answers for two GPUs, of which the second does not know its power."""

    NVMLError = ImitationError
    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, count: int = 2, driver: bool = True) -> None:
        super().__init__("pynvml")
        self.count = count
        self.driver = driver
        self.reasons = 0x001 | 0x020  # idle, and hot
        self.open = 0

    def nvmlInit(self) -> None:
        if not self.driver:
            raise ImitationError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"580.95.05"

    def nvmlDeviceGetName(self, device: int) -> str:
        return f"NVIDIA Imitation {device}"

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:
        return SimpleNamespace(total=8 << 30)

    def nvmlDeviceGetEnforcedPowerLimit(self, device: int) -> int:
        return 250_000

    def nvmlDeviceGetMaxClockInfo(self, device: int, kind: int) -> int:
        return 1980

    def nvmlDeviceGetClockInfo(self, device: int, kind: int) -> int:
        return 1410

    def nvmlDeviceGetUtilizationRates(self, device: int) -> Any:
        return SimpleNamespace(gpu=75, memory=20)

    def nvmlDeviceGetPowerUsage(self, device: int) -> int:
        if device == 1:
            raise ImitationError("Not Supported")
        return 123_456

    def nvmlDeviceGetTemperature(self, device: int, sensor: int) -> int:
        return 71

    def nvmlDeviceGetCurrentClocksEventReasons(self, device: int) -> int:
        return self.reasons


@pytest.fixture
def imitation(monkeypatch: pytest.MonkeyPatch) -> Imitation:
    module = Imitation()
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def test_what_the_gpus_are(imitation: Imitation) -> None:
    nvml = open_nvml()
    assert nvml is not None
    info = describe(nvml=nvml)
    assert [gpu.name for gpu in info.gpus] == ["NVIDIA Imitation 0", "NVIDIA Imitation 1"]
    assert info.name == "NVIDIA Imitation 0"
    gpu = info.gpus[0]
    assert (gpu.driver, gpu.memory_bytes, gpu.max_clock_mhz, gpu.power_limit_w) == (
        "580.95.05",
        8 << 30,
        1980,
        250.0,
    )
    nvml.close()
    assert imitation.open == 0


def test_a_gpu_is_watched(imitation: Imitation) -> None:
    nvml = open_nvml()
    monitor = DeviceMonitor(nvml=nvml, interval_s=0.05)
    monitor.start()
    last = monitor.stop()[-1]
    assert (last.gpu_clock_mhz, last.gpu_busy, last.gpu_power_w) == (1410, 0.75, 123.456)
    assert last.temperatures_c["GPU"] == 71
    assert "sw_thermal_slowdown" in last.throttle
    assert len(last.throttle) == 1  # an idle clock is not held down


def test_what_a_gpu_does_not_know_is_none(imitation: Imitation) -> None:
    nvml = open_nvml()
    assert nvml is not None
    reading = nvml.read(1)
    assert reading.power_w is None
    assert reading.clock_mhz == 1410


def test_an_older_pynvml_has_another_name_for_the_reasons(imitation: Imitation) -> None:
    del Imitation.nvmlDeviceGetCurrentClocksEventReasons
    Imitation.nvmlDeviceGetCurrentClocksThrottleReasons = lambda self, device: 0x004  # type: ignore[attr-defined]
    try:
        nvml = open_nvml()
        assert nvml is not None
        assert nvml.read().throttle == ("sw_power_cap",)
    finally:
        del Imitation.nvmlDeviceGetCurrentClocksThrottleReasons  # type: ignore[attr-defined]
        Imitation.nvmlDeviceGetCurrentClocksEventReasons = lambda self, device: self.reasons  # type: ignore[method-assign]


@pytest.mark.parametrize("module", [None, Imitation(count=0), Imitation(driver=False)])
def test_no_package_no_driver_or_no_gpu(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert open_nvml() is None
    if module is not None:
        assert module.open == 0


def test_the_imitation_has_the_real_names() -> None:
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    names = [name for name in vars(Imitation) if name.startswith(("nvml", "NVML"))]
    assert len(names) > 10
    assert [name for name in names if not hasattr(pynvml, name)] == []
