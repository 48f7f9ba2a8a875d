"""The CPUs of this machine: how many this process may use, and which numbers they multiply fast."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

from pinnace.models.cpu_identity import cpu_flags

_CGROUP = Path("/sys/fs/cgroup")

_CPUINFO = Path("/proc/cpuinfo")

# Flags of Linux for instructions that add products of bytes in 32 bits.
_VNNI = ("amx_int8", "avx512_vnni", "avx_vnni_int8", "avx_vnni")

# Instructions that multiply less exact numbers faster than float32, the fastest of each kind first, by
# Linux's names: arch/x86/include/asm/cpufeatures.h, and Documentation/arch/arm64/elf_hwcaps.rst.
_FAST = {
    "bf16": ("amx_bf16", "avx512_bf16", "svebf16", "bf16"),
    "fp16": ("amx_fp16", "avx512_fp16", "asimdhp"),
    "int8": (*_VNNI, "svei8mm", "i8mm", "asimddp"),
}


def available_cpus() -> int:
    """CPUs that this process may keep busy, at least 1.

    The smaller of the scheduling affinity and the cgroup's quota (v2 `cpu.max`, v1 `cpu.cfs_quota_us`),
    the quota rounded up: half a CPU counts as one.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = cgroup_cpu_quota()
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def cgroup_cpu_quota(root: Path = _CGROUP, self_cgroup: Path = Path("/proc/self/cgroup")) -> float | None:
    """The CPU quota of this process's cgroup in CPUs, or None where there is no limit.

    A limit may stand on any ancestor, so the tightest from this group up to the root counts.
    """
    quotas = [quota for folder in _cgroup_folders(root, self_cgroup) if (quota := _folder_quota(folder))]
    return min(quotas, default=None)


def _cgroup_folders(root: Path, self_cgroup: Path) -> list[Path]:
    folders = {root, root / "cpu", root / "cpu,cpuacct"}
    try:
        lines = self_cgroup.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base = root
        elif "cpu" in controllers.split(","):
            base = root / controllers
        else:
            continue
        folder = base / path.lstrip("/")
        folders.update([folder, *[parent for parent in folder.parents if parent.is_relative_to(base)]])
    return sorted(folders)


def _folder_quota(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in ("max", "-1"):
        return None
    return int(quota) / int(period)


def fast_precisions(cpuinfo: Path = _CPUINFO) -> dict[str, str]:
    """The precisions that this CPU multiplies faster than fp32, each with the instruction set that does it.

    Such as `{"bf16": "avx512_bf16", "int8": "avx512_vnni"}`; nothing where the system does not say.
    """
    flags = _flags(cpuinfo)
    found = {
        precision: next((name for name in names if name in flags), None) for precision, names in _FAST.items()
    }
    return {precision: name for precision, name in found.items() if name is not None}


def has_avx512(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether there are registers of 512 bits (x86-64); False where the system does not say."""
    return "avx512f" in _flags(cpuinfo)


def _flags(cpuinfo: Path) -> list[str]:
    try:
        return cpu_flags(cpuinfo.read_text())
    except OSError:
        return []


def saturates(cpuinfo: Path = _CPUINFO, machine: str | None = None) -> bool:
    """Whether the fast product of uint8 and int8 is an x86-64 one that saturates at 16 bits: no VNNI.

    Where nothing says which instructions there are, it is taken to saturate.
    """
    if (machine or platform.machine()).lower() not in ("x86_64", "amd64"):
        return False
    return not set(_VNNI).intersection(_flags(cpuinfo))
