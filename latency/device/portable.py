"""The machine as Python and psutil know it, where there are no files of Linux: on a Mac."""

from __future__ import annotations

import os
import platform
import subprocess

import psutil  # type: ignore[import-untyped]

from pinnace.latency.device.types import CpuInfo

_SYSCTL = ("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string")


def describe_cpu() -> CpuInfo:
    """The CPU's name and how many there are; its clocks and instructions are not known."""
    cpus = os.cpu_count() or 1
    model = _brand() or platform.processor() or platform.machine() or "unknown CPU"
    return CpuInfo(
        model=model,
        cpus=cpus,
        available=cpus,
        quota=None,
        flags=(),
        governor=None,
        min_mhz=None,
        max_mhz=None,
        virtual=False,
    )


def system() -> str:
    """Such as `macOS 15.6, Darwin 24.6.0 arm64`."""
    version = platform.mac_ver()[0]
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    return f"macOS {version}, {kernel}" if version else kernel


def memory_bytes() -> int:
    """The machine's memory."""
    return int(psutil.virtual_memory().total)


def _brand() -> str | None:
    """The name that Apple gives a CPU, such as `Apple M2`."""
    try:
        done = subprocess.run(_SYSCTL, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
