"""What the machine is, in one `DeviceInfo`."""

from __future__ import annotations

import platform

from pinnace.latency.device import portable
from pinnace.latency.device.cpu import read_cpu
from pinnace.latency.device.jetson import read_board
from pinnace.latency.device.nvidia import Nvml
from pinnace.latency.device.sysfs import Sysfs
from pinnace.latency.device.types import DeviceInfo
from pinnace.models.packages import installed_versions
from pinnace.models.runtimes import all_runtimes

# Of what runs the models, besides the packages of the runtimes.
_PACKAGES = ("onnxruntime-gpu", "tensorrt-rtx-cu13", "torch", "torchvision", "numpy", "pillow")


def describe(sysfs: Sysfs | None = None, nvml: Nvml | None = None) -> DeviceInfo:
    """Describe this machine.

    Args:
        sysfs: its files; None means those of the running system.
        nvml: its NVIDIA GPUs, or None where there are none.
    """
    sysfs = sysfs or Sysfs()
    cpu = portable.describe_cpu() if sysfs.is_missing else read_cpu(sysfs)
    board = read_board(sysfs)
    gpus = nvml.describe() if nvml is not None else ()
    return DeviceInfo(
        name=board.model if board else gpus[0].name if gpus else cpu.model,
        system=portable.system() if sysfs.is_missing else _system(sysfs),
        python=platform.python_version(),
        cpu=cpu,
        memory_bytes=portable.memory_bytes() if sysfs.is_missing else _memory(sysfs),
        gpus=gpus,
        board=board,
        on_battery=_on_battery(sysfs),
        packages=installed_versions((*(runtime.module for runtime in all_runtimes().values()), *_PACKAGES)),
    )


def _system(sysfs: Sysfs) -> str:
    kernel = sysfs.text("proc/sys/kernel/osrelease") or platform.release()
    names = dict(
        line.split("=", 1) for line in (sysfs.text("etc/os-release") or "").splitlines() if "=" in line
    )
    name = names.get("PRETTY_NAME", "").strip('"')
    return ", ".join(part for part in (name, f"Linux {kernel} {platform.machine()}") if part)


def _on_battery(sysfs: Sysfs) -> bool | None:
    supplies = [
        (sysfs.text(f"{folder}/type"), sysfs.text(f"{folder}/status"), sysfs.text(f"{folder}/scope"))
        for folder in sysfs.glob("sys/class/power_supply/*")
    ]
    # One whose scope is `Device` is that of a mouse.
    states = [status for kind, status, scope in supplies if kind == "Battery" and scope != "Device"]
    return "Discharging" in states if states else None


def _memory(sysfs: Sysfs) -> int | None:
    """The smaller of the machine's memory and the cgroup's limit, in bytes."""
    meminfo = (sysfs.text("proc/meminfo") or "").splitlines()
    limits = [int(line.split()[1]) * 1024 for line in meminfo if line.startswith("MemTotal:")]
    for line in (sysfs.text("proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            limits.append(_limit(sysfs, f"sys/fs/cgroup/memory{path}/memory.limit_in_bytes"))
        elif not controllers:
            limits.append(_limit(sysfs, f"sys/fs/cgroup{path}/memory.max"))
    limits.append(_limit(sysfs, "sys/fs/cgroup/memory.max"))
    known = [limit for limit in limits if limit]
    return min(known) if known else None


def _limit(sysfs: Sysfs, name: str) -> int:
    value = sysfs.number(name.replace("//", "/"))  # `max`, without a limit, is None
    return int(value) if value else 0
