"""ONNX Runtime reports nothing to its maker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_onnxruntime_keeps_no_file_and_no_thread_for_its_telemetry(tmp_path: Path) -> None:
    code = (
        "import os, time, pinnace.models.runtimes.onnxruntime, onnxruntime, onnx.helper as h\n"
        "v = h.make_tensor_value_info\n"
        "g = h.make_graph([h.make_node('Relu', ['x'], ['y'])], 'g', [v('x', 1, [1])], [v('y', 1, [1])])\n"
        "m = h.make_model(g, opset_imports=[h.make_opsetid('', 18)], ir_version=10)\n"
        "onnxruntime.InferenceSession(m.SerializeToString()); time.sleep(0.5)\n"
    )
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment = {**kept, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    assert [path.name for path in tmp_path.rglob("*")] == []
