"""A small exported bundle, made once by the command line itself."""

from __future__ import annotations

import json
import runpy
from dataclasses import dataclass
from pathlib import Path

import pytest

from pinnace.clients import cli

NETWORK = """
import torch

def build(num_classes=5):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(8, num_classes),
    )
"""
COLOURS = ("red", "green", "blue", "black", "white")


@dataclass(frozen=True)
class Outcome:
    """What one run of the command line did."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def pinnace(capsys):
    """Run the command line in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = cli.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Path:
    """A user's folder: a network, its checkpoint, labels."""
    import torch

    folder = tmp_path_factory.mktemp("project")
    (folder / "net.py").write_text(NETWORK)
    (folder / "labels.txt").write_text("\n".join(COLOURS) + "\n")
    build = runpy.run_path(str(folder / "net.py"))["build"]
    torch.save(build().state_dict(), folder / "weights.pt")
    return folder


@pytest.fixture(scope="session")
def bundle(project: Path) -> Path:
    """The project's bundle, with both variants."""
    out = project / "colours.bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        arguments = ["--arch", "net:build", "--labels", "labels.txt", "--input-size", "32x32"]
        assert cli.run(["export", "file:weights.pt", "-o", str(out), *arguments]) == 0
    return out
