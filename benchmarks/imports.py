"""How long it takes to start what a bench imports, beside ONNX Runtime alone.

    python benchmarks/imports.py

Starts an interpreter for each, in turns, and prints the medians, and how often the first goes into each.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15
IMPORTED = {
    "onnxruntime": "import onnxruntime",
    "numpy": "import numpy",
    "the command line": "import pinnace.cli.main",
    "a bench with its report": (
        "import pinnace.cli.main, pinnace.latency.run, pinnace.latency.reports.write, onnxruntime"
    ),
}


def main() -> None:
    """Measure and print."""
    taken: dict[str, list[float]] = {name: [] for name in IMPORTED}
    for _ in range(ROUNDS):
        for name, statement in IMPORTED.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            taken[name].append(time.perf_counter() - started)
    first = statistics.median(taken["onnxruntime"])
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name}: {1000 * median:.0f} ms, {median / first:.1f} times onnxruntime")


if __name__ == "__main__":
    main()
