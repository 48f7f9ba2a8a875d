"""Warnings about the figures, from the state of the machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pinnace.latency.device.types import DeviceInfo, DeviceSample
from pinnace.latency.result import Result
from pinnace.latency.result_parts import Caveat

MOST_VARIATION = 0.05
DROPPED = 0.9
# CPUs, and the share of all CPUs: a big server always runs a few other processes.
_OTHER_CPUS = 0.1
_OTHER_SHARE = 0.02
_FEW_SAMPLES = 5


def of_device(info: DeviceInfo) -> tuple[Caveat, ...]:
    """Warnings about the machine's settings, before anything is measured: governor, clocks, supply."""
    found = [_governor(info)]
    if info.on_battery:
        words = "the machine runs on its battery, and may be slower than on mains; plug it in"
        found.append(Caveat("battery", words))
    if info.board is not None and info.board.since_boot:
        words = (
            f"since this board was started, it has reported {', '.join(info.board.since_boot)}: "
            "look at its supply, its cable and its cooling"
        )
        found.append(Caveat("supply", words))
    return tuple(caveat for caveat in found if caveat is not None)


def _governor(info: DeviceInfo) -> Caveat | None:
    if info.board is not None and info.board.jetson_clocks is False:
        return Caveat(
            "governor",
            "jetson_clocks is off, so CPU and GPU change their clocks while they are measured; "
            "hold them with: sudo jetson_clocks",
        )
    governor = info.cpu.governor
    if governor is None or governor == "performance" or (info.board and info.board.jetson_clocks):
        return None
    return Caveat(
        "governor",
        f"the CPU's governor is {governor}, so its clock follows the load; "
        "set it with: sudo cpupower frequency-set -g performance",
    )


def of_timeline(info: DeviceInfo, samples: Sequence[DeviceSample]) -> tuple[Caveat, ...]:
    """Warnings about the measurement: throttling, falling clocks, the load of other processes."""
    found = [
        _throttled(samples),
        _dropped("CPU", samples, lambda sample: sample.cpu_mhz),
        _dropped("GPU", samples, working_gpu_clock),
        _other_load(info, samples),
        _stolen(samples),
    ]
    return tuple(caveat for caveat in found if caveat is not None)


def of_result(info: DeviceInfo, result: Result, provider: str | None = None) -> tuple[Caveat, ...]:
    """Warnings that follow from a row itself.

    Args:
        info: the machine that ran it.
        result: the row.
        provider: the requested one, `cpu`, `cuda`, `gpu`, `npu` or `auto`, or None.
    """
    found = []
    if result.cv > MOST_VARIATION:
        found.append(
            Caveat(
                "variation",
                # Without the figure, which stands in the table, so that many rows are one warning.
                f"the latencies vary by more than {MOST_VARIATION:.0%} of their mean (standard deviation): "
                "another run may give other figures",
            )
        )
    if result.threads is not None and result.threads > info.cpu.available:
        found.append(
            Caveat(
                "threads",
                f"{result.threads} threads share {info.cpu.available} "
                f"CPU{'' if info.cpu.available == 1 else 's'}, so they wait for one another",
            )
        )
    if provider not in (None, "auto") and result.device not in (provider, "remote"):
        found.append(
            Caveat(
                "provider",
                f"{provider} was requested, but the network ran on {result.device} ({result.provider})",
            )
        )
    return tuple(found)


def _throttled(samples: Sequence[DeviceSample]) -> Caveat | None:
    reasons = list(dict.fromkeys(reason for sample in samples for reason in sample.throttle))
    if not reasons:
        return None
    share = sum(bool(sample.throttle) for sample in samples) / len(samples)
    return Caveat("throttled", f"the clocks were throttled {share:.0%} of the time ({', '.join(reasons)})")


def working_gpu_clock(sample: DeviceSample) -> float | None:
    """A GPU's clock while it works."""
    # An idle GPU lowers its clock, which costs nothing.
    idle = sample.gpu_busy is not None and sample.gpu_busy < 0.1
    return None if idle else sample.gpu_clock_mhz


def _dropped(
    what: str, samples: Sequence[DeviceSample], clock: Callable[[DeviceSample], float | None]
) -> Caveat | None:
    """Whether a clock fell, and stayed, below what it had been before; that it rises at first is good."""
    highest = 0.0
    low = []
    values = [value for sample in samples if (value := clock(sample))]
    for value in values:
        highest = max(highest, value)
        if value < DROPPED * highest:
            low.append(value)
    if len(low) < (1 if len(values) < _FEW_SAMPLES else 2):
        return None
    return Caveat(
        "clock-dropped",
        f"the {what}'s clock fell from {highest:.0f} to {min(low):.0f} MHz during the measurement",
    )


def _other_load(info: DeviceInfo, samples: Sequence[DeviceSample]) -> Caveat | None:
    mean = _mean([sample.other_load for sample in samples])
    if mean is None or mean <= max(_OTHER_CPUS, _OTHER_SHARE * info.cpu.cpus):
        return None
    cpus = f"{info.cpu.cpus} CPU{'' if info.cpu.cpus == 1 else 's'}"
    return Caveat("other-load", f"other processes kept {mean:.1f} of the machine's {cpus} busy meanwhile")


def _stolen(samples: Sequence[DeviceSample]) -> Caveat | None:
    mean = _mean([sample.stolen for sample in samples])
    if mean is None or mean <= _OTHER_CPUS:
        return None
    return Caveat(
        "other-load", f"the host of this virtual machine gave {mean:.1f} CPUs of its time to others meanwhile"
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
