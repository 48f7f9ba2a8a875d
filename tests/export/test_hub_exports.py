"""Two hub repositories with packages of the same names, exported one after the other in children."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pinnace.cli import main
from pinnace.models.bundle.bundle import Bundle

pytestmark = pytest.mark.slow

HUBCONF = """
print("a word from hubconf.py")
from models.net import build
import export, serving, utils

def net(width=4):
    print("a word from the entry point")
    return build(width)

def leaves():
    print("goodbye")
    raise SystemExit(0)
"""
NET = """
from torch import nn

def build(width):
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES)
    )
"""


def run(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capfd.readouterr()
    status = main.run(["export", *arguments, "--input-size", "8x8", "--format", "torchscript"])
    return status, *capfd.readouterr()


def test_two_repositories_in_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, classes in (("one", 3), ("two", 5)):
        for file, text in {
            "hubconf.py": HUBCONF,
            "models/net.py": NET.replace("CLASSES", str(classes)),
            "utils.py": "",
            "export.py": "",
            "serving/__init__.py": "",
        }.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
    monkeypatch.chdir(tmp_path)
    for name, classes in (("one", 3), ("two", 5)):
        status, out, err = run(
            capfd, f"hub:./{name}#net", "--trust", "--arg", "width=2", "-o", f"{name}.bundle", "--json"
        )
        assert (status, [line.partition(": ")[0] for line in err.splitlines()]) == (0, ["note"] * 3), err
        assert json.loads(out)["source"] == f"hub:./{name}#net"
        assert Bundle.open(f"{name}.bundle").manifest.signature.outputs[0].shape == ("batch", classes)
    status, out, err = run(capfd, "hub:./one#leaves", "--trust", "-o", "left.bundle")
    assert (status, out) == (2, "")
    assert err.endswith(
        "error: loading hub:./one#leaves ended the interpreter (exit status 0); "
        f"what it printed is in {tmp_path}/left.bundle.log\n"
    )
    assert Path("left.bundle.log").read_text() == "a word from hubconf.py\ngoodbye\n"
