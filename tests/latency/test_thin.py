"""What a device needs for a bench stays small."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# NumPy, Pillow and ONNX Runtime are most of it; torch alone would be many times as much.
BUDGET_MB = 350
LISTING = """
import sys
import pinnace.cli.main, pinnace.latency.run, pinnace.latency.reports.write, onnxruntime
import json
from importlib.metadata import distribution, packages_distributions
own = packages_distributions()
names = {name for module in list(sys.modules) for name in own.get(module.partition(".")[0], ())} - {"pinnace"}
sizes = {
    name: sum(file.size or 0 for file in distribution(name).files or ()) for name in names
}
print(json.dumps({"sizes": sizes, "torch": "torch" in sys.modules}))
"""


def test_what_a_bench_imports_fits_a_budget_of_size() -> None:
    done = subprocess.run([sys.executable, "-c", LISTING], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["torch"]
    assert {"numpy", "onnxruntime"} <= {name.lower() for name in found["sizes"]}
    total = sum(found["sizes"].values()) / 1e6
    assert 20 < total < BUDGET_MB, sorted(found["sizes"].items(), key=lambda pair: -pair[1])[:8]
