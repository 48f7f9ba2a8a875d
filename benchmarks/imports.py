"""How long the command line takes to start, beside an interpreter that does nothing.

    python benchmarks/imports.py [BUNDLE]

Runs each in a process of its own, in turns, and prints the medians and how often `python -c pass` goes into
each. With the folder of a bundle, it also inspects that and classifies a photograph with it. What a bench
imports stands beside ONNX Runtime alone.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 15
NOTHING = "python -c pass"
BENCH = "import pinnace.cli.main, pinnace.latency.run, pinnace.latency.reports.write, onnxruntime"
PHOTOGRAPH = Path(__file__).parents[1] / "models" / "photographs" / "cat.jpg"


def commands(bundle: str | None) -> dict[str, list[str]]:
    """What is started, by what it is called."""
    python, pinnace = [sys.executable, "-c"], [sys.executable, "-m", "pinnace.cli.main"]
    started = {
        NOTHING: [*python, "pass"],
        "import numpy": [*python, "import numpy"],
        "import onnxruntime": [*python, "import onnxruntime"],
        "what a bench with its report imports": [*python, BENCH],
        "pinnace --version": [*pinnace, "--version"],
        "pinnace --help": [*pinnace, "--help"],
        "pinnace models": [*pinnace, "models"],
    }
    if bundle is not None:
        started["pinnace inspect BUNDLE"] = [*pinnace, "inspect", bundle]
        started["pinnace classify cat.jpg --bundle BUNDLE"] = [
            *(*pinnace, "classify", str(PHOTOGRAPH), "--bundle", bundle),
        ]
    return started


def main() -> None:
    """Measure and print."""
    started = commands(sys.argv[1] if len(sys.argv) > 1 else None)
    taken: dict[str, list[float]] = {name: [] for name in started}
    for _ in range(ROUNDS):
        for name, command in started.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            taken[name].append(time.perf_counter() - began)
    nothing = statistics.median(taken[NOTHING])
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{1000 * median:6.0f} ms  {median / nothing:5.1f} times {NOTHING}  {name}")


if __name__ == "__main__":
    main()
