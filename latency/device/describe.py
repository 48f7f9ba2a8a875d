"""What the machine is, in one `DeviceInfo`."""

from __future__ import annotations

import importlib.metadata
import platform

from pinnace.latency.device.cpu import read_cpu
from pinnace.latency.device.jetson import read_board
from pinnace.latency.device.nvidia import Nvml
from pinnace.latency.device.sysfs import Tree
from pinnace.latency.device.types import DeviceInfo

_PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx-cu13",
    "torch",
    "torchvision",
    "numpy",
    "pillow",
)


def describe(tree: Tree | None = None, nvml: Nvml | None = None) -> DeviceInfo:
    """Describe this machine.

    Args:
        tree: its files; None means those of the running system.
        nvml: its NVIDIA GPUs, or None where there are none.
    """
    tree = tree or Tree()
    cpu = read_cpu(tree)
    board = read_board(tree)
    gpus = nvml.describe() if nvml is not None else ()
    return DeviceInfo(
        name=board.model if board else gpus[0].name if gpus else cpu.model,
        system=_system(tree),
        python=platform.python_version(),
        cpu=cpu,
        memory_bytes=_memory(tree),
        gpus=gpus,
        board=board,
        packages=_packages(),
    )


def _system(tree: Tree) -> str:
    kernel = tree.text("proc/sys/kernel/osrelease") or platform.release()
    names = dict(
        line.split("=", 1) for line in (tree.text("etc/os-release") or "").splitlines() if "=" in line
    )
    name = names.get("PRETTY_NAME", "").strip('"')
    return ", ".join(part for part in (name, f"Linux {kernel} {platform.machine()}") if part)


def _memory(tree: Tree) -> int | None:
    """The smaller of the machine's memory and the cgroup's limit, in bytes."""
    meminfo = (tree.text("proc/meminfo") or "").splitlines()
    limits = [int(line.split()[1]) * 1024 for line in meminfo if line.startswith("MemTotal:")]
    for line in (tree.text("proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            limits.append(_limit(tree, f"sys/fs/cgroup/memory{path}/memory.limit_in_bytes"))
        elif not controllers:
            limits.append(_limit(tree, f"sys/fs/cgroup{path}/memory.max"))
    limits.append(_limit(tree, "sys/fs/cgroup/memory.max"))
    known = [limit for limit in limits if limit]
    return min(known) if known else None


def _limit(tree: Tree, name: str) -> int:
    value = tree.number(name.replace("//", "/"))  # `max` is no number
    return int(value) if value else 0


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
