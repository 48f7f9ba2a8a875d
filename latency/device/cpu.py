"""The CPU: its name, the instructions that matter to a network, how it is clocked, how much of it is ours."""

from __future__ import annotations

import math
import re

from pinnace.latency.device.sysfs import Sysfs
from pinnace.latency.device.types import CpuInfo
from pinnace.models.cpu_identity import cpu_flags, cpu_model, isa_flags
from pinnace.models.cpus import cgroup_cpu_quota

_CPUFREQ = "sys/devices/system/cpu/cpu*/cpufreq"


def read_cpu(sysfs: Sysfs) -> CpuInfo:
    """Describe the CPU."""
    cpuinfo = sysfs.text("proc/cpuinfo") or ""
    online = count_cpus(sysfs.text("sys/devices/system/cpu/online")) or cpuinfo.count("processor\t") or 1
    allowed = min(len(allowed_cpus(sysfs)) or online, online)
    quota = cgroup_cpu_quota(sysfs.path("sys/fs/cgroup"), sysfs.path("proc/self/cgroup"))
    governors = {sysfs.text(f"{folder}/scaling_governor") for folder in sysfs.glob(_CPUFREQ)} - {None}
    return CpuInfo(
        model=cpu_model(cpuinfo) or "unknown CPU",
        cpus=online,
        available=allowed if quota is None else max(1, min(allowed, math.ceil(quota))),
        quota=quota,
        flags=isa_flags(cpuinfo),
        governor=", ".join(sorted(str(name) for name in governors)) or None,
        min_mhz=_fastest(sysfs, "scaling_min_freq"),
        max_mhz=_fastest(sysfs, "scaling_max_freq"),
        virtual="hypervisor" in cpu_flags(cpuinfo),
    )


def allowed_cpus(sysfs: Sysfs) -> list[int]:
    """The numbers of the CPUs that the scheduler may give this process."""
    return cpu_list(_status(sysfs, "Cpus_allowed_list") or "")


def cpu_list(text: str) -> list[int]:
    """The numbers in a list as the kernel writes it: `0-3,8` is 0, 1, 2, 3, 8."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit():
            found.extend(range(int(first), int(last or first) + 1))
    return found


def count_cpus(text: str | None) -> int | None:
    """How many CPUs a kernel's list names, or None without one."""
    return len(cpu_list(text)) if text else None


def _status(sysfs: Sysfs, key: str) -> str | None:
    found = re.search(rf"^{key}:\s*(.+)$", sysfs.text("proc/self/status") or "", re.MULTILINE)
    return found[1] if found else None


def _fastest(sysfs: Sysfs, name: str) -> float | None:
    """The highest value of a file in kHz over all CPUs, in MHz."""
    values = [value for folder in sysfs.glob(_CPUFREQ) if (value := sysfs.number(f"{folder}/{name}"))]
    return max(values) / 1000 if values else None
