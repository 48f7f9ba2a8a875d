"""What a report says of the machine: what it is, and its state during the measurement."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class CpuInfo:
    """The processor.

    Attributes:
        model: its name, such as `AMD EPYC 7B13`.
        cpus: logical CPUs of the machine.
        available: CPUs that this process may keep busy: affinity and cgroup.
        quota: the cgroup's quota in CPUs, or None where there is no limit.
        flags: the instruction sets that matter for networks, such as `avx2`, `avx512_vnni`, `asimddp`.
        governor: of the frequency, such as `performance`, or None where the system does not say.
        min_mhz: lowest frequency, or None likewise.
        max_mhz: highest frequency, or None likewise.
        virtual: whether this is a virtual machine, whose host decides about clocks and neighbours.
    """

    model: str
    cpus: int
    available: int
    quota: float | None = None
    flags: tuple[str, ...] = ()
    governor: str | None = None
    min_mhz: float | None = None
    max_mhz: float | None = None
    virtual: bool = False


@dataclass(frozen=True)
class GpuInfo:
    """A GPU.

    Attributes:
        name: such as `NVIDIA A100-SXM4-40GB`.
        driver: its version, or None.
        memory_bytes: of the GPU; None where it shares that of the CPU.
        max_clock_mhz: of the processors, or None.
        power_limit_w: or None.
    """

    name: str
    driver: str | None = None
    memory_bytes: int | None = None
    max_clock_mhz: float | None = None
    power_limit_w: float | None = None


@dataclass(frozen=True)
class BoardInfo:
    """A board that says what it is, such as a Jetson or a Raspberry Pi.

    Attributes:
        model: such as `NVIDIA Jetson Orin Nano Developer Kit`.
        jetpack: version, or None.
        l4t: release of Linux for Tegra, such as `36.4.3`, or None.
        power_mode: by name, such as `MAXN`, or None.
        jetson_clocks: whether `jetson_clocks` holds the clocks at their highest, or None.
        since_boot: what has held the clocks of a Raspberry Pi down at any time since it was started.
    """

    model: str
    jetpack: str | None = None
    l4t: str | None = None
    power_mode: str | None = None
    jetson_clocks: bool | None = None
    since_boot: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeviceInfo:
    """What the machine is.

    Attributes:
        name: one line that a person knows it by: the board, else the GPU that was used, else the CPU.
        system: such as `Linux 6.1.0 x86_64`.
        python: version.
        cpu: the processor.
        memory_bytes: what this process may use.
        gpus: in the order of CUDA.
        board: or None where it does not say.
        on_battery: whether a battery is all that feeds it; None where it has none.
        packages: versions of what runs the models, such as `{"onnxruntime": "1.23.2"}`.
    """

    name: str
    system: str
    python: str
    cpu: CpuInfo
    memory_bytes: int | None = None
    gpus: tuple[GpuInfo, ...] = ()
    board: BoardInfo | None = None
    packages: dict[str, str] = field(default_factory=dict)
    on_battery: bool | None = None


@dataclass(frozen=True)
class DeviceSample:
    """The state of the machine at one moment. What the machine does not report is None or empty.

    Attributes:
        seconds: since the first query was due; before 0, during the warm-up.
        cpu_mhz: mean frequency of the CPUs that this process may use.
        cpu_busy: share of the machine's CPUs that are busy, 0 to 1, since the sample before.
        other_load: CPUs that other processes keep busy, since the sample before; 1.5 is one and a half CPUs.
        stolen: CPUs that the host of a virtual machine gave to others meanwhile.
        temperatures_c: by the sensor's name.
        gpu_clock_mhz: of the GPU's processors.
        gpu_busy: share of time in which the GPU worked, 0 to 1.
        gpu_power_w: what the GPU draws.
        rails_w: what the board's supplies deliver, by their names.
        throttle: why the clocks are held down, in the words of the system, such as `sw_thermal_slowdown`.
    """

    seconds: float
    cpu_mhz: float | None = None
    cpu_busy: float | None = None
    other_load: float | None = None
    stolen: float | None = None
    temperatures_c: dict[str, float] = field(default_factory=dict)
    gpu_clock_mhz: float | None = None
    gpu_busy: float | None = None
    gpu_power_w: float | None = None
    rails_w: dict[str, float] = field(default_factory=dict)
    throttle: tuple[str, ...] = ()
