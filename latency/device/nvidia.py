"""NVIDIA GPUs through NVML (package `nvidia-ml-py`); nothing where it or the driver is missing.

https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pinnace.latency.device.types import GpuInfo

# Bits of nvmlClocksEventReasons that mean slower than asked for. The others (idle, application clocks,
# display clocks, sync boost) are somebody's choice.
_REASONS = {
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x200: "board_limit",
    0x400: "reliability",
}


@dataclass(frozen=True)
class GpuReading:
    """A GPU at one moment; None where it does not say.

    Attributes:
        clock_mhz: of its processors.
        busy: share of time in which a kernel ran, 0 to 1.
        power_w: what it draws.
        temperature_c: of the chip.
        throttle: why its clock is held down.
    """

    clock_mhz: float | None = None
    busy: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    throttle: tuple[str, ...] = ()


class Nvml:
    """NVML while it is open. A question that a GPU does not answer is None."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._devices = [
            library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount())
        ]

    def __len__(self) -> int:
        return len(self._devices)

    def describe(self) -> tuple[GpuInfo, ...]:
        """Every GPU that the driver shows, in its order (by PCI address)."""
        nvml = self._library
        driver = _str(self._ask(nvml.nvmlSystemGetDriverVersion))
        found = []
        for device in self._devices:
            memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, device)
            limit = self._ask(nvml.nvmlDeviceGetEnforcedPowerLimit, device)
            found.append(
                GpuInfo(
                    name=_str(self._ask(nvml.nvmlDeviceGetName, device)) or "NVIDIA GPU",
                    driver=driver,
                    memory_bytes=None if memory is None else int(memory.total),
                    max_clock_mhz=self._ask(nvml.nvmlDeviceGetMaxClockInfo, device, nvml.NVML_CLOCK_SM),
                    power_limit_w=None if limit is None else limit / 1000,
                )
            )
        return tuple(found)

    def read(self, index: int = 0) -> GpuReading:
        """One GPU now.

        Args:
            index: its place in `describe()`.
        """
        nvml, device = self._library, self._devices[index]
        use = self._ask(nvml.nvmlDeviceGetUtilizationRates, device)
        power = self._ask(nvml.nvmlDeviceGetPowerUsage, device)
        # Renamed in driver 535; older bindings know only the older name.
        reasons = getattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons", None) or getattr(
            nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", None
        )
        bits = self._ask(reasons, device) if reasons else None
        return GpuReading(
            clock_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, device, nvml.NVML_CLOCK_SM),
            busy=None if use is None else use.gpu / 100,
            power_w=None if power is None else power / 1000,
            temperature_c=self._ask(nvml.nvmlDeviceGetTemperature, device, nvml.NVML_TEMPERATURE_GPU),
            throttle=tuple(word for bit, word in _REASONS.items() if (bits or 0) & bit),
        )

    def energy_j(self, index: int = 0) -> float | None:
        """What one GPU has drawn since the driver was loaded, in joules; None where it does not count.

        Args:
            index: its place in `describe()`.
        """
        # https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
        # Since Volta, in millijoules.
        question = getattr(self._library, "nvmlDeviceGetTotalEnergyConsumption", None)
        counted = self._ask(question, self._devices[index]) if question else None
        return None if counted is None else counted / 1000

    def close(self) -> None:
        """Shut NVML down."""
        self._ask(self._library.nvmlShutdown)

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except self._library.NVMLError:
            return None


def open_nvml() -> Nvml | None:
    """NVML, or None where there is no `nvidia-ml-py`, no driver, or no GPU."""
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        library.nvmlInit()
        found = Nvml(library)
    except library.NVMLError:
        return None
    if len(found) == 0:
        found.close()
        return None
    return found


def _str(text: Any) -> str | None:
    # Old bindings answer in bytes.
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text
