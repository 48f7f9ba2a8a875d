"""Machines that cannot be here, as the files that the kernel would show of them.

None was recorded on the machine itself: the files are laid out as the kernel's and the makers' documents
say, and the figures are made up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Files = dict[str, str]


def cpufreq(cpus: int, governor: str, low: int, high: int, now: int) -> Files:
    files: Files = {}
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


def zones(**celsius: float) -> Files:
    """Thermal zones by name."""
    files: Files = {}
    for number, (name, value) in enumerate(celsius.items()):
        folder = f"sys/class/thermal/thermal_zone{number}"
        files |= {f"{folder}/type": name.replace("_", "-"), f"{folder}/temp": str(round(1000 * value))}
    return files


def ina3221(hwmon: int, rails: dict[str, tuple[int, int]]) -> Files:
    """The supplies of a Jetson from JetPack 5 on: millivolts and milliamperes by label."""
    folder = f"sys/class/hwmon/hwmon{hwmon}"
    files = {f"{folder}/name": "ina3221"}
    for number, (label, (volts, amperes)) in enumerate(rails.items(), start=1):
        files |= {
            f"{folder}/in{number}_label": label,
            f"{folder}/in{number}_input": str(volts),
            f"{folder}/curr{number}_input": str(amperes),
        }
    return files


@dataclass(frozen=True)
class Trouble:
    """What changes while something is measured, and the warning that follows.

    Attributes:
        code: of the caveat.
        words: that are in its message.
        files: with their new content.
    """

    code: str
    words: str
    files: Files


@dataclass(frozen=True)
class Board:
    """A machine.

    Attributes:
        name: as a report calls it.
        files: of the quiet machine.
        settings: codes of the caveats about its settings.
        sensor: of power that covers most, or None.
        watts: that it says.
        troubles: what can befall it.
        facts: attributes of its `BoardInfo`.
    """

    name: str
    files: Files
    settings: tuple[str, ...]
    sensor: str | None
    watts: float
    troubles: tuple[Trouble, ...]
    facts: dict[str, object] = field(default_factory=dict)


def _busy(cpus: int) -> Files:
    """A second in which other processes keep two CPUs busy."""
    return {"proc/stat": stat(1000 + 200, 5000 + 100 * (cpus - 2), cpus)}


def _linux(cpus: int) -> Files:
    return {
        "proc/stat": stat(1000, 5000, cpus),
        "proc/self/stat": f"1 (python) S {'0 ' * 10}100 0 0 0\n",
        "proc/self/status": f"Cpus_allowed_list:\t0-{cpus - 1}\n",
        "proc/self/cgroup": "0::/\n",
        "sys/devices/system/cpu/online": f"0-{cpus - 1}\n",
    }


def _clock(cpus: int, khz: int) -> Files:
    return {f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq": str(khz) for n in range(cpus)}


_OC = "sys/class/hwmon/hwmon3"
_GPU = "sys/class/devfreq/17000000.gpu"
_ALARMS = {
    f"{_OC}/name": "soctherm_oc",
    f"{_OC}/oc1_event_cnt": "0",
    f"{_OC}/oc2_event_cnt": "0",
    f"{_OC}/oc3_event_cnt": "37",
}
_ORIN_GPU = {f"{_GPU}/cur_freq": "1020000000", f"{_GPU}/device/load": "990"}

ORIN_6 = Board(
    "NVIDIA Jetson Orin Nano Developer Kit",
    {
        **ORIN,
        **_linux(6),
        **_ALARMS,
        **_ORIN_GPU,
        **ina3221(1, {"VDD_IN": (5000, 1413), "VDD_CPU_GPU_CV": (5000, 501), "VDD_SOC": (5000, 300)}),
    },
    ("governor",),
    "VDD_IN",
    7.065,
    (
        Trouble("throttled", "cpu-throttle-alert", {"sys/class/thermal/cooling_device0/cur_state": "1"}),
        Trouble("throttled", "average_over_current", {f"{_OC}/oc2_event_cnt": "15"}),
        Trouble("throttled", "under_voltage", {f"{_OC}/oc1_event_cnt": "1"}),
        Trouble(
            "clock-dropped", "the GPU's clock fell from 1020 to 612 MHz", {f"{_GPU}/cur_freq": "612000000"}
        ),
        Trouble("clock-dropped", "the CPU's clock fell from 1510 to 730 MHz", _clock(6, 729600)),
        Trouble("other-load", "of the machine's 6 CPUs", _busy(6)),
    ),
    {"jetpack": "6.2.1", "l4t": "36.4.3", "power_mode": "MAXN_SUPER", "jetson_clocks": False},
)
ORIN_7 = Board(
    "NVIDIA Jetson AGX Orin Developer Kit",
    {
        **_linux(12),
        **_ALARMS,
        **_ORIN_GPU,
        **cpufreq(12, "schedutil", 2201600, 2201600, 2201600),
        **zones(cpu_thermal=52.1, gpu_thermal=49.5, tj_thermal=52.1),
        **ina3221(1, {"VDD_GPU_SOC": (5000, 2000), "VDD_CPU_CV": (5000, 800), "VIN_SYS_5V0": (5000, 1000)}),
        "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\x00",
        "etc/nv_tegra_release": "# R38 (release), REVISION: 4.0, GCID: 1, BOARD: generic\n",
        "var/lib/nvpmodel/status": "pmode:0000\n",
        "etc/nvpmodel.conf": "< PM_CONFIG DEFAULT=2 >\n< POWER_MODEL ID=0 NAME=MAXN >\n",
        "proc/cpuinfo": arm(12, "0xd42", "fp asimd aes asimdhp asimddp"),
        f"{_GPU}/min_freq": "1300500000",
        f"{_GPU}/max_freq": "1300500000",
    },
    (),
    "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0",
    19.0,
    (Trouble("throttled", "instantaneous_over_current", {f"{_OC}/oc3_event_cnt": "38"}),),
    {"jetpack": "7", "l4t": "38.4.0", "power_mode": "MAXN", "jetson_clocks": True},
)
_INA = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
NANO = Board(
    "NVIDIA Jetson Nano Developer Kit",
    {
        **_linux(4),
        **cpufreq(4, "schedutil", 102000, 1479000, 1479000),
        **zones(AO_therm=44.5, CPU_therm=41.5, GPU_therm=39.0, PMIC_Die=100.0),
        "proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\x00",
        "etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 1, BOARD: t210ref, EABI: aarch64\n",
        "etc/nvpmodel.conf": "< PM_CONFIG DEFAULT=0 >\n< POWER_MODEL ID=0 NAME=MAXN >\n",
        "proc/cpuinfo": arm(4, "0xd07", "fp asimd evtstrm aes"),
        "sys/class/thermal/cooling_device1/type": "tegra-cpufreq",
        "sys/class/thermal/cooling_device1/cur_state": "0",
        f"{_INA}/rail_name_0": "POM_5V_IN",
        f"{_INA}/in_power0_input": "4321",
        f"{_INA}/rail_name_1": "POM_5V_GPU",
        f"{_INA}/in_power1_input": "1234",
    },
    ("governor",),
    "POM_5V_IN",
    4.321,
    (Trouble("throttled", "tegra-cpufreq", {"sys/class/thermal/cooling_device1/cur_state": "3"}),),
    {"jetpack": "4", "l4t": "32.7.1", "power_mode": "MAXN", "jetson_clocks": False},
)
_VOLT = "sys/class/hwmon/hwmon1"
_BITS = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
PI_5 = Board(
    "Raspberry Pi 5 Model B Rev 1.0",
    {
        **_linux(4),
        **cpufreq(4, "ondemand", 1500000, 2400000, 2400000),
        **zones(cpu_thermal=61.3),
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\x00",
        "proc/cpuinfo": arm(4, "0xd0b", "fp asimd aes asimdhp asimddp"),
        f"{_VOLT}/name": "rpi_volt",
        f"{_VOLT}/in0_lcrit_alarm": "0",
        _BITS: "50000",
    },
    ("governor", "supply"),
    None,
    0.0,
    (
        Trouble("throttled", "under_voltage", {_BITS: "50001"}),
        Trouble("throttled", "frequency_capped, throttled", {_BITS: "d0006"}),
        Trouble("throttled", "soft_temperature_limit", {_BITS: "80008"}),
        Trouble("throttled", "under_voltage", {f"{_VOLT}/in0_lcrit_alarm": "1"}),
        Trouble("clock-dropped", "the CPU's clock fell from 2400 to 1500 MHz", _clock(4, 1500000)),
    ),
    {"since_boot": ("under_voltage", "throttled"), "jetpack": None},
)
_RAPL = "sys/class/powercap/intel-rapl:0"


def _intel(model: str) -> str:
    flags = "flags\t\t: fma avx2 avx_vnni"
    return "".join(f"processor\t: {n}\nmodel name\t: {model}\n{flags}\n\n" for n in range(4))


NUC = Board(
    "13th Gen Intel(R) Core(TM) i5-1340P",
    {
        **_linux(4),
        **cpufreq(4, "powersave", 400000, 4600000, 4200000),
        "proc/cpuinfo": _intel("13th Gen Intel(R) Core(TM) i5-1340P"),
        "sys/class/hwmon/hwmon2/name": "coretemp",
        "sys/class/hwmon/hwmon2/temp1_input": "88000",
        "sys/class/hwmon/hwmon2/temp1_label": "Package id 0",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "7",
        "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "12",
        f"{_RAPL}/name": "package-0",
        f"{_RAPL}/energy_uj": "0",
        f"{_RAPL}/max_energy_range_uj": "262143328850",
    },
    ("governor",),
    "RAPL package",
    0.0,
    (
        Trouble(
            "throttled",
            "thermal_throttle",
            {"sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "13"},
        ),
        Trouble("other-load", "other processes kept", _busy(4)),
    ),
)
_BATTERY = "sys/class/power_supply/BAT0"
LAPTOP = Board(
    "Intel(R) Core(TM) Ultra 7 155U",
    {
        **_linux(4),
        **cpufreq(4, "powersave", 400000, 4800000, 2100000),
        "proc/cpuinfo": _intel("Intel(R) Core(TM) Ultra 7 155U"),
        "sys/class/power_supply/AC/type": "Mains",
        "sys/class/power_supply/AC/online": "0",
        f"{_BATTERY}/type": "Battery",
        f"{_BATTERY}/status": "Discharging",
        f"{_BATTERY}/voltage_now": "11400000",
        f"{_BATTERY}/current_now": "1000000",
        "sys/class/power_supply/hidpp_battery_0/type": "Battery",
        "sys/class/power_supply/hidpp_battery_0/status": "Discharging",
        "sys/class/power_supply/hidpp_battery_0/scope": "Device",
    },
    ("governor", "battery"),
    "battery BAT0",
    11.4,
    (Trouble("clock-dropped", "the CPU's clock fell from 2100 to 400 MHz", _clock(4, 400000)),),
)
BOARDS = {
    "Jetson Orin Nano, JetPack 6": ORIN_6,
    "Jetson AGX Orin, JetPack 7": ORIN_7,
    "Jetson Nano, JetPack 4": NANO,
    "Raspberry Pi 5": PI_5,
    "Intel NUC": NUC,
    "laptop on battery": LAPTOP,
}
