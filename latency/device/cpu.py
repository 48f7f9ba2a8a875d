"""The CPU: its name, the instructions that matter to a network, how it is clocked, how much of it is ours."""

from __future__ import annotations

import math
import re

from pinnace.latency.device.sysfs import Sysfs
from pinnace.latency.device.types import CpuInfo
from pinnace.models.cpus import cgroup_cpu_quota

# Flags of /proc/cpuinfo that decide which kernels a runtime picks.
_ISA = re.compile(
    r"f16c|fma|avx2|avx512\w*|avx_vnni\w*|avx10\w*|amx_\w+|neon|asimd|asimdhp|asimddp|bf16|i8mm|sve2?|sme2?"
)
_CPUFREQ = "sys/devices/system/cpu/cpu*/cpufreq"

# Arm's names of its parts: Arm's technical reference manuals, register MIDR_EL1; also in util-linux `lscpu`.
_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd48": "Cortex-X2",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
    "0xd83": "Neoverse-V3AE",
    "0xd84": "Neoverse-V3",
}
_OTHER_PARTS = {("0x4e", "0x003"): "NVIDIA Denver 2", ("0x4e", "0x004"): "NVIDIA Carmel"}
_ARM = "0x41"


def read_cpu(sysfs: Sysfs) -> CpuInfo:
    """Describe the CPU."""
    cpuinfo = sysfs.text("proc/cpuinfo") or ""
    flags = _flags(cpuinfo)
    online = count_cpus(sysfs.text("sys/devices/system/cpu/online")) or cpuinfo.count("processor\t") or 1
    allowed = min(len(allowed_cpus(sysfs)) or online, online)
    quota = cgroup_cpu_quota(sysfs.path("sys/fs/cgroup"), sysfs.path("proc/self/cgroup"))
    governors = {sysfs.text(f"{folder}/scaling_governor") for folder in sysfs.glob(_CPUFREQ)} - {None}
    return CpuInfo(
        model=_model(cpuinfo) or "unknown CPU",
        cpus=online,
        available=allowed if quota is None else max(1, min(allowed, math.ceil(quota))),
        quota=quota,
        flags=tuple(flag for flag in flags if _ISA.fullmatch(flag)),
        governor=", ".join(sorted(str(name) for name in governors)) or None,
        min_mhz=_fastest(sysfs, "scaling_min_freq"),
        max_mhz=_fastest(sysfs, "scaling_max_freq"),
        virtual="hypervisor" in flags,
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


def _flags(cpuinfo: str) -> list[str]:
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return list(dict.fromkeys(found[1].split())) if found else []


def _model(cpuinfo: str) -> str | None:
    if names := _all(cpuinfo, "model name"):
        return " + ".join(names)
    pairs = zip(
        re.findall(r"^CPU implementer\s*:\s*(\S+)$", cpuinfo, re.MULTILINE),
        re.findall(r"^CPU part\s*:\s*(\S+)$", cpuinfo, re.MULTILINE),
        strict=False,
    )
    parts = [
        _ARM_PARTS.get(part, f"Arm part {part}")
        if maker == _ARM
        else _OTHER_PARTS.get((maker, part), f"implementer {maker} part {part}")
        for maker, part in dict.fromkeys(pairs)
    ]
    return " + ".join(parts) or None


def _all(cpuinfo: str, key: str) -> list[str]:
    return list(dict.fromkeys(re.findall(rf"^{key}\s*:\s*(.+?)\s*$", cpuinfo, re.MULTILINE)))


def _fastest(sysfs: Sysfs, name: str) -> float | None:
    """The highest value of a file in kHz over all CPUs, in MHz."""
    values = [value for folder in sysfs.glob(_CPUFREQ) if (value := sysfs.number(f"{folder}/{name}"))]
    return max(values) / 1000 if values else None
