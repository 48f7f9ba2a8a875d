"""Machines that cannot be here, as the files that the kernel would show of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pinnace.latency.device.sysfs import Sysfs

Files = dict[str, str]


def cpufreq(cpus: int, governor: str, low: int, high: int, now: int) -> Files:
    files = {}
    for cpu in range(cpus):
        folder = f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        files |= {
            f"{folder}/scaling_governor": governor,
            f"{folder}/scaling_min_freq": str(low),
            f"{folder}/scaling_max_freq": str(high),
            f"{folder}/scaling_cur_freq": str(now),
        }
    return files


def arm(cpus: int, part: str, features: str) -> str:
    return "\n\n".join(
        f"processor\t: {cpu}\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU part\t: {part}"
        for cpu in range(cpus)
    )


def stat(busy: int, idle: int, cpus: int, stolen: int = 0) -> str:
    lines = [f"cpu  {busy} 0 0 {idle} 0 0 0 {stolen} 0 0"]
    return "\n".join(lines + [f"cpu{cpu} 0 0 0 0 0 0 0 0 0 0" for cpu in range(cpus)])


# As the files of an Orin Nano on JetPack 6 are laid out; the figures are made up.
ORIN: Files = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\x00",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n",
    "var/lib/nvpmodel/status": "pmode:0002\n",
    "etc/nvpmodel.conf": "< PM_CONFIG DEFAULT=0 >\n< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n"
    "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
    "var/lib/dpkg/status": "Package: bash\nVersion: 5.1\n\nPackage: nvidia-jetpack\nStatus: installed\n"
    "Architecture: arm64\nVersion: 6.2.1+b38\n\n",
    "proc/cpuinfo": arm(6, "0xd42", "fp asimd aes crc32 asimdhp asimddp i8mm bf16"),
    "sys/devices/system/cpu/online": "0-5\n",
    "proc/self/status": "Name:\tpython\nCpus_allowed_list:\t0-3\n",
    "proc/self/cgroup": "0::/\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "51500",
    "sys/class/thermal/thermal_zone1/type": "cv0-thermal",
    "sys/class/thermal/thermal_zone1/temp": "-256000",
    "sys/class/thermal/cooling_device0/type": "cpu-throttle-alert",
    "sys/class/thermal/cooling_device0/cur_state": "0",
    "proc/meminfo": "MemTotal:        7802000 kB\n",
    **cpufreq(6, "schedutil", 115200, 1728000, 1510400),
}


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[Files], Sysfs]:
    """Lay a machine's files out under a root of its own."""

    def lay(files: Files) -> Sysfs:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Sysfs(tmp_path)

    return lay


@pytest.fixture
def orin(machine: Callable[[Files], Sysfs]) -> Sysfs:
    return machine(ORIN)
