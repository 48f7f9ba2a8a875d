"""Measure the peak memory of `pinnace export` for a checkpoint of a given size, all processes together.

    python benchmarks/export_memory.py --megabytes 350

The network is a few large linear layers. Memory is the sum of the proportional set sizes (PSS) of the command
and its children, sampled every 20 ms: pages that several processes share count once. Exit status 1 where the
peak is above four times the checkpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

NETWORK = """
from torch import nn

def build(width):
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(192, width),
        nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, 10),
    )
"""
LARGEST_FACTOR = 4


def memory(process: psutil.Process) -> dict[str, int]:
    """The PSS of a process and all below it, in bytes, by what they run."""
    sizes: dict[str, int] = {}
    with contextlib.suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                role = "worker" if "pinnace.export.worker.main" in one.cmdline() else "command"
                sizes[role] = sizes.get(role, 0) + one.memory_full_info().pss
    return sizes


def peak_of(command: list[str], folder: Path) -> tuple[int, int, dict[str, int]]:
    """Run a command.

    Returns:
        Its exit status, the peak in bytes, and the peaks of its parts.
    """
    with subprocess.Popen(command, cwd=folder) as child:
        process = psutil.Process(child.pid)
        peak, parts = 0, dict[str, int]()
        while child.poll() is None:
            sizes = memory(process)
            peak = max(peak, sum(sizes.values()))
            parts = {role: max(parts.get(role, 0), sizes.get(role, 0)) for role in parts | sizes}
            time.sleep(0.02)
        return child.returncode, peak, parts


def main() -> None:
    """Print the checkpoint's size, the peak, and their ratio."""
    parser = argparse.ArgumentParser(description="Peak memory of an export.")
    parser.add_argument("--megabytes", type=int, default=350)
    parser.add_argument("options", nargs="*", help="more options for pinnace export, after --")
    arguments = parser.parse_args()
    width = int((arguments.megabytes * 1e6 / 4 / 2) ** 0.5)
    with tempfile.TemporaryDirectory(prefix="pinnace-memory-") as name:
        folder = Path(name)
        (folder / "net.py").write_text(NETWORK)
        save = f"import torch, net; torch.save(net.build({width}).state_dict(), 'net.pt')"
        subprocess.run([sys.executable, "-c", save], cwd=folder, check=True)
        size = (folder / "net.pt").stat().st_size
        command = [sys.executable, "-m", "pinnace.cli.main", "export", "file:net.pt", "-o", "net.bundle"]
        command += ["--arch", "net:build", "--arg", f"width={width}", "--input-size", "32x32"]
        status, peak, parts = peak_of([*command, *arguments.options], folder)
    print(f"checkpoint {size / 1e6:.0f} MB, peak {peak / 1e6:.0f} MB: {peak / size:.2f} times")
    print(", ".join(f"{role} {value / 1e6:.0f} MB" for role, value in parts.items()))
    sys.exit(status or int(peak > LARGEST_FACTOR * size))


if __name__ == "__main__":
    main()
