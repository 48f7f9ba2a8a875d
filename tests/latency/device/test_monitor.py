"""What the machine does while it is measured, here and on machines made of files."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pinnace.latency.device import tegrastats
from pinnace.latency.device.monitor import DeviceMonitor
from pinnace.latency.device.sensors import Clocks, LoadMeter, Temperatures
from pinnace.latency.device.sysfs import Sysfs
from pinnace.latency.device.throttling import Throttling

# One line each in the formats that NVIDIA documents; the figures are made up.
LINES = {
    "JetPack 4, Nano": (
        "RAM 1500/3964MB (lfb 4x2MB) SWAP 0/1982MB (cached 0MB) IRAM 0/252kB(lfb 252kB) "
        "CPU [12%@1479,8%@1479,9%@1479,7%@1479] EMC_FREQ 3%@1600 GR3D_FREQ 87%@921 APE 25 PLL@38C CPU@41.5C "
        "PMIC@100C GPU@39C AO@44.5C thermal@40.25C POM_5V_IN 4321/3210 "
        "POM_5V_GPU 1234/999 POM_5V_CPU 567/456",
        tegrastats.Reading(
            0.87,
            921.0,
            {"PLL": 38.0, "CPU": 41.5, "GPU": 39.0, "AO": 44.5, "thermal": 40.25},
            {"POM_5V_IN": 4.321, "POM_5V_GPU": 1.234, "POM_5V_CPU": 0.567},
        ),
    ),
    "JetPack 5, Xavier NX": (
        "11-25-2026 10:00:00 RAM 2000/6851MB (lfb 2x4MB) SWAP 1/3426MB (cached 0MB) "
        "CPU [23%@1397,17%@1192,off,off,23%@1190,10%@1190] EMC_FREQ 2%@1600 GR3D_FREQ 55%@[1109] "
        "VIC_FREQ 115 "
        "APE 150 AUX@45C CPU@46.5C thermal@45.6C AO@45C GPU@45.5C PMIC@50C VDD_IN 9876mW/8765mW "
        "VDD_CPU_GPU_CV 5432mW/4321mW VDD_SOC 1650mW/1500mW",
        tegrastats.Reading(
            0.55,
            1109.0,
            {"AUX": 45.0, "CPU": 46.5, "thermal": 45.6, "AO": 45.0, "GPU": 45.5},
            {"VDD_IN": 9.876, "VDD_CPU_GPU_CV": 5.432, "VDD_SOC": 1.65},
        ),
    ),
    "JetPack 6, Orin": (
        "11-25-2026 10:00:00 RAM 2911/7620MB (lfb 5x4MB) SWAP 0/3810MB (cached 0MB) "
        "CPU [4%@1510,3%@1510,0%@1510,1%@1510,0%@729,0%@729] EMC_FREQ 1%@2133 GR3D_FREQ 99%@[611] NVDEC off "
        "NVJPG off NVJPG1 off VIC off OFA off APE 200 cpu@48.406C soc2@47.031C cv0@-256C gpu@48.781C "
        "tj@48.781C soc0@46.5C VDD_IN 7065mW/7002mW VDD_CPU_GPU_CV 2504mW/2400mW VDD_SOC 1501mW/1499mW",
        tegrastats.Reading(
            0.99,
            611.0,
            {"cpu": 48.406, "soc2": 47.031, "gpu": 48.781, "tj": 48.781, "soc0": 46.5},
            {"VDD_IN": 7.065, "VDD_CPU_GPU_CV": 2.504, "VDD_SOC": 1.501},
        ),
    ),
    "JetPack 7, without load": (
        "RAM 4722/7844MB (lfb 1x512kB) EMC_FREQ 2%@1866 GR3D_FREQ @[1000,1000,1000] APE 150 "
        "gpu@47.625C/47.5C VDD_GPU 5139mW/5000mW/5200mW",
        tegrastats.Reading(None, 1000.0, {"gpu": 47.625}, {"VDD_GPU": 5.139}),
    ),
    "nothing of use": ("tegrastats: permission denied", tegrastats.Reading()),
}
IMITATION = """
import sys, time
assert sys.argv[1] == "--interval", sys.argv
while True:
    print(LINE, flush=True)
    time.sleep(int(sys.argv[2]) / 1000)
"""


@pytest.mark.parametrize("name", LINES)
def test_a_line_of_tegrastats(name: str) -> None:
    line, reading = LINES[name]
    assert tegrastats.parse(line) == reading


def test_a_jetson_is_watched_through_tegrastats(
    orin: Sysfs, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path_factory.mktemp("programs")
    program = programs / "tegrastats"
    line = LINES["JetPack 6, Orin"][0]
    program.write_text(f"#!{sys.executable}\nLINE = {line!r}\n{IMITATION}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monitor = DeviceMonitor(orin, interval_s=0.05)
    monitor.start()
    time.sleep(0.6)
    samples = monitor.stop()
    assert samples[-1].gpu_clock_mhz == 611
    assert samples[-1].gpu_busy == 0.99
    assert samples[-1].rails_w["VDD_IN"] == 7.065
    assert samples[-1].temperatures_c == {"cpu-thermal": 51.5}  # the kernel's own come first
    assert samples[0].cpu_mhz == 1510.4


def test_samples_come_in_time_and_cost_little() -> None:
    monitor = DeviceMonitor(interval_s=0.1)
    monitor.start()
    time.sleep(0.45)
    samples = monitor.stop()
    assert samples[0].seconds < 0.1
    assert samples[-1].seconds >= 0.45
    assert [sample.seconds for sample in samples] == sorted(sample.seconds for sample in samples)
    assert 4 <= len(samples) <= 6
    assert samples[-1].cpu_busy is not None
    assert 0 < monitor.cost_s < 0.1


def test_a_monitor_leaves_nothing_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        monitor = DeviceMonitor(interval_s=0.01)
        monitor.start()
        monitor.stop()
        assert monitor.stop() == ()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_our_own_load_is_not_that_of_others() -> None:
    """By the files of the kernel alone, which is what another program on the machine cannot disturb."""
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])

    def used() -> float:
        times = psutil.Process(child.pid).cpu_times()
        return float(times.user + times.system)

    try:
        mine, all_mine = LoadMeter(Sysfs()), LoadMeter(Sysfs(), (child.pid,))
        began, before = time.monotonic(), used()
        while used() - before < 0.5:  # however busy the machine is with other things
            burn(0.1)
        without, with_child = mine.since(), all_mine.since()
        share = (used() - before) / (time.monotonic() - began)
    finally:
        child.kill()
        child.wait()
    assert without is not None
    assert with_child is not None
    # The child had a share of a CPU, and only one of the two meters takes it for a stranger.
    assert without.others - with_child.others == pytest.approx(share, rel=0.3, abs=0.05)
    mine.close()
    all_mine.close()


def write_stat(root: Path, busy: int, idle: int, own: int, stolen: int) -> None:
    for name in ("proc/stat", "proc/self/stat"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / "proc/stat").write_text(
        f"cpu  {busy} 0 0 {idle} 0 0 0 {stolen} 0 0\n" + "".join(f"cpu{n} 0 0 0 0\n" for n in range(4))
    )
    (root / "proc/self/stat").write_text(f"1 (a (strange) name) S {'0 ' * 10}{own} 0 0 0\n")


def test_load_in_cpus(tmp_path: Path) -> None:
    write_stat(tmp_path, 1000, 5000, 100, 0)
    meter = LoadMeter(Sysfs(tmp_path))
    # One second of four CPUs in ticks: 250 busy of which 100 are ours, 50 stolen, 100 idle.
    write_stat(tmp_path, 1250, 5100, 200, 50)
    load = meter.since()
    assert load is not None
    assert (load.busy, load.others, load.stolen) == (0.625, 1.5, 0.5)
    assert meter.since() == load  # no tick has passed
    meter.close()


def test_the_host_of_a_virtual_machine_does_not_say_the_clock(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("flags\t: fma avx2\ncpu MHz\t\t: 2000.5\n")
    assert Clocks(Sysfs(tmp_path)).mean_mhz() == 2000.5
    (tmp_path / "proc/cpuinfo").write_text("flags\t: fma avx2 hypervisor\ncpu MHz\t\t: 2000.5\n")
    assert Clocks(Sysfs(tmp_path)).mean_mhz() is None


def test_temperatures_of_a_pc(machine: object) -> None:
    chip = "sys/class/hwmon/hwmon0"
    sysfs = machine(  # type: ignore[operator]
        {
            f"{chip}/name": "coretemp",
            f"{chip}/temp1_input": "45000",
            f"{chip}/temp1_label": "Package id 0",
            f"{chip}/temp2_input": "43000",
            f"{chip}/temp2_label": "Core 0",
            "sys/class/hwmon/hwmon1/name": "nvme",
            "sys/class/hwmon/hwmon1/temp1_input": "30000",
        }
    )
    assert Temperatures(sysfs).read() == {"Package id 0": 45.0, "Core 0": 43.0}


def test_why_a_clock_is_held_down(machine: object) -> None:
    counter = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    cooler = "sys/class/thermal/cooling_device0"
    bits = "sys/devices/platform/soc/soc:firmware/get_throttled"
    sysfs = machine(  # type: ignore[operator]
        {counter: "7", f"{cooler}/type": "cpu-throttle-alert", f"{cooler}/cur_state": "0", bits: "50000"}
    )
    throttling = Throttling(sysfs)
    assert throttling.reasons() == ()  # it was throttled before, which is past
    sysfs.path(counter).write_text("9")
    sysfs.path(f"{cooler}/cur_state").write_text("2")
    sysfs.path(bits).write_text("50005")
    assert throttling.reasons() == (
        "thermal_throttle",
        "cpu-throttle-alert",
        "under_voltage",
        "throttled",
    )
    assert "thermal_throttle" not in throttling.reasons()
    throttling.close()
