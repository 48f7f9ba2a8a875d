"""What the machine is: this one as the kernel counts it, and others from their files."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil
import pytest

from pinnace.latency.device.cpu import cpu_list, read_cpu
from pinnace.latency.device.describe import describe
from pinnace.latency.device.jetson import parse_l4t, read_board
from pinnace.latency.device.sysfs import Sysfs


def test_this_machine() -> None:
    info = describe()
    assert info.cpu.cpus == psutil.cpu_count()
    assert 1 <= info.cpu.available <= len(os.sched_getaffinity(0))
    assert platform.release() in info.system
    assert info.memory_bytes is not None
    assert 0 < info.memory_bytes <= psutil.virtual_memory().total
    assert info.packages["numpy"]
    if platform.machine() == "x86_64":
        text = Path("/proc/cpuinfo").read_text()
        assert ("avx2" in info.cpu.flags) == (" avx2 " in text)
        assert not {"smep", "sse4_2"} & set(info.cpu.flags)


def test_a_jetson(orin: Sysfs) -> None:
    info = describe(orin)
    assert info.name == "NVIDIA Jetson Orin Nano Developer Kit"
    assert info.board is not None
    assert (info.board.jetpack, info.board.l4t) == ("6.2.1", "36.4.3")
    assert info.board.power_mode == "MAXN_SUPER"
    assert info.board.jetson_clocks is False
    assert info.cpu.model == "Cortex-A78AE"
    assert info.cpu.flags == ("asimd", "asimdhp", "asimddp", "i8mm", "bf16")
    assert (info.cpu.cpus, info.cpu.available) == (6, 4)
    assert (info.cpu.governor, info.cpu.min_mhz, info.cpu.max_mhz) == ("schedutil", 115.2, 1728.0)
    assert info.memory_bytes == 7802000 * 1024


def test_jetson_clocks_hold_the_cpu_and_the_gpu(orin: Sysfs) -> None:
    for cpu in range(6):
        orin.path(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_min_freq").write_text("1728000")
    board = read_board(orin)
    assert board is not None
    assert board.jetson_clocks is False  # the GPU's clock is still free
    orin.path("sys/class/devfreq/17000000.gpu/min_freq").write_text("1020000000")
    board = read_board(orin)
    assert board is not None
    assert board.jetson_clocks is True


def test_a_power_mode_that_was_never_chosen_is_the_default(orin: Sysfs) -> None:
    orin.path("var/lib/nvpmodel/status").unlink()
    board = read_board(orin)
    assert board is not None
    assert board.power_mode == "15W"


@pytest.mark.parametrize(
    ("release", "l4t"),
    [
        ("# R32 (release), REVISION: 7.1, GCID: 1, BOARD: t210ref, EABI: aarch64, DATE: now", "32.7.1"),
        ("# R35 (release), REVISION: 4.1, GCID: 1, BOARD: t186ref, EABI: aarch64, DATE: now", "35.4.1"),
        ("# R36 (release), REVISION: 4.3", "36.4.3"),
        ("something else", None),
    ],
)
def test_l4t(release: str, l4t: str | None) -> None:
    assert parse_l4t(release) == l4t


def test_without_its_package_jetpack_is_the_number_that_l4t_belongs_to(orin: Sysfs) -> None:
    orin.path("var/lib/dpkg/status").unlink()
    board = read_board(orin)
    assert board is not None
    assert board.jetpack == "6"


def test_a_cgroup_takes_cpus_and_memory(orin: Sysfs) -> None:
    for name, text in (("cpu.max", "150000 100000"), ("memory.max", "1073741824")):
        orin.path("sys/fs/cgroup").mkdir(parents=True, exist_ok=True)
        orin.path(f"sys/fs/cgroup/{name}").write_text(text)
    info = describe(orin)
    assert (info.cpu.quota, info.cpu.available) == (1.5, 2)
    assert info.memory_bytes == 1 << 30


def test_a_machine_that_says_nothing(tmp_path: Path) -> None:
    info = describe(Sysfs(tmp_path))
    assert info.cpu.model == "unknown CPU"
    assert info.board is None
    assert info.memory_bytes is None


def test_cores_of_two_kinds(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    parts = "\n".join(f"CPU implementer\t: 0x41\nCPU part\t: {part}" for part in ("0xd03", "0xd03", "0xd08"))
    (tmp_path / "proc/cpuinfo").write_text(parts)
    assert read_cpu(Sysfs(tmp_path)).model == "Cortex-A53 + Cortex-A72"


def test_lists_of_cpus() -> None:
    assert cpu_list("0-3,8,10-11") == [0, 1, 2, 3, 8, 10, 11]
    assert cpu_list("") == []
