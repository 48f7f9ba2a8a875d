"""What a board says of itself; of a Jetson its JetPack, its power mode by name, whether its clocks are held.

Everything comes from files that any user may read; `nvpmodel -q` and `jetson_clocks --show` want root.
"""

from __future__ import annotations

import re

from pinnace.latency.device.sysfs import Sysfs
from pinnace.latency.device.throttling import PiBits
from pinnace.latency.device.types import BoardInfo

# JetPack's first number for each first number of L4T: https://developer.nvidia.com/embedded/jetpack-archive
_JETPACK = {28: "3", 32: "4", 34: "5", 35: "5", 36: "6", 38: "7", 39: "7"}
_GPU_NODES = ("gpu", "gv11b", "gp10b", "ga10b", "gm20b", "gpu-gpc-0", "57000000.gpu", "17000000")


def read_board(sysfs: Sysfs) -> BoardInfo | None:
    """Describe the board, or None where the machine has no device tree that names one."""
    model = sysfs.text("proc/device-tree/model")
    release = sysfs.text("etc/nv_tegra_release")
    if release is None:
        return BoardInfo(model, since_boot=_since_boot(sysfs)) if model else None
    l4t = parse_l4t(release)
    return BoardInfo(
        model=model or "Jetson of unknown model",
        jetpack=_jetpack(sysfs, l4t),
        l4t=l4t,
        power_mode=_power_mode(sysfs),
        jetson_clocks=_pinned(sysfs),
    )


def _since_boot(sysfs: Sysfs) -> tuple[str, ...]:
    bits = PiBits(sysfs)
    try:
        return bits.since_boot()
    finally:
        bits.close()


def parse_l4t(release: str) -> str | None:
    """`36.4.3` from `# R36 (release), REVISION: 4.3, GCID: ...`."""
    found = re.search(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", release)
    return f"{found[1]}.{found[2]}" if found else None


def _jetpack(sysfs: Sysfs, l4t: str | None) -> str | None:
    packages = sysfs.text("var/lib/dpkg/status") or ""
    found = re.search(r"^Package: nvidia-jetpack\n(?:.+\n)*?Version: ([\d.]+)", packages, re.MULTILINE)
    if found:
        return found[1]
    return _JETPACK.get(int(l4t.split(".")[0])) if l4t else None


def _power_mode(sysfs: Sysfs) -> str | None:
    found = re.search(r"pmode:0*(\d+)", sysfs.text("var/lib/nvpmodel/status") or "")
    modes = sysfs.text("etc/nvpmodel.conf") or ""
    number = found[1] if found else None
    if number is None:  # nobody has chosen one since it was flashed
        default = re.search(r"^<\s*PM_CONFIG\s+DEFAULT=(\d+)", modes, re.MULTILINE)
        number = default[1] if default else None
    if number is None:
        return None
    name = re.search(rf"^<\s*POWER_MODEL\s+ID={number}\s+NAME=(\S+)", modes, re.MULTILINE)
    return name[1] if name else f"mode {number}"


def _pinned(sysfs: Sysfs) -> bool | None:
    ranges = [
        (sysfs.number(f"{folder}/scaling_min_freq"), sysfs.number(f"{folder}/scaling_max_freq"))
        for folder in sysfs.glob("sys/devices/system/cpu/cpu*/cpufreq")
    ]
    ranges += [
        (sysfs.number(f"{folder}/min_freq"), sysfs.number(f"{folder}/max_freq"))
        for folder in gpu_devfreq(sysfs)
    ]
    known = [(low, high) for low, high in ranges if low is not None and high is not None]
    return all(low == high for low, high in known) if known else None


def gpu_devfreq(sysfs: Sysfs) -> list[str]:
    """The folders under `sys/class/devfreq` that belong to the GPU."""
    return [
        folder
        for folder in sysfs.glob("sys/class/devfreq/*")
        if any(node in folder.rpartition("/")[2] for node in _GPU_NODES)
    ]
