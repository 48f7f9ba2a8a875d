"""What a device needs that only serves: every module imports without the packages of the export."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROBE = """
import importlib, json, pkgutil, sys
room = importlib.import_module(sys.argv[1])
names = [module.name for module in pkgutil.walk_packages(room.__path__, sys.argv[1] + ".")]
for name in names:
    importlib.import_module(name)
print(json.dumps({"imported": names, "modules": sorted(sys.modules)}))
"""

ROOMS = {
    "pinnace.models": ("pinnace.models.runtimes.onnxruntime", {"onnxruntime", "openvino", "tensorrt"}),
    "pinnace.serving": ("pinnace.serving.service", set()),
    "pinnace.latency": ("pinnace.latency.run", {"onnxruntime", "openvino", "bentoml"}),
    "pinnace.clients": ("pinnace.clients.client", {"onnxruntime", "openvino", "bentoml"}),
    "pinnace.cli": ("pinnace.cli.commands.export", {"onnxruntime", "openvino", "bentoml"}),
    "pinnace.export": ("pinnace.export.formats.onnx", {"onnxruntime", "openvino"}),
}


@pytest.mark.parametrize("room", ROOMS)
def test_no_module_imports_what_only_an_export_needs(room: str) -> None:
    known, also_late = ROOMS[room]
    output = subprocess.run(
        [sys.executable, "-c", PROBE, room], capture_output=True, text=True, check=True
    ).stdout
    result = json.loads(output.splitlines()[-1])
    assert known in result["imported"]
    late = {"torch", "torchvision", "onnx", "onnxscript", "timm", "efficientnet_lite_pytorch"} | also_late
    assert set(result["modules"]) & late == set()


def test_the_probe_finds_an_import() -> None:
    code = PROBE.replace("print(", "import onnx; print(")
    output = subprocess.run(
        [sys.executable, "-c", code, "pinnace.export.formats"], capture_output=True, text=True, check=True
    ).stdout
    assert "onnx" in json.loads(output)["modules"]
