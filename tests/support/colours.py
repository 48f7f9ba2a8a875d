"""A user's project, a network of five colours, and its bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pinnace.cli import main

COLOURS = ("red", "green", "blue", "black", "white")


def make_project(folder: Path) -> Path:
    """The network in `net.py`, its checkpoint `weights.pt` and `labels.txt`."""
    torch = pytest.importorskip("torch", reason="torch is not installed, and the bundle is exported here")

    from support import small_networks

    shutil.copy(small_networks.__file__, folder / "net.py")
    (folder / "labels.txt").write_text("\n".join(COLOURS) + "\n")
    torch.save(small_networks.build().state_dict(), folder / "weights.pt")
    return folder


def export_project(project: Path) -> Path:
    """The bundle of the project, with every variant that is exported by default."""
    out = project / "colours.bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        arguments = ["--arch", "net:build", "--labels", "labels.txt", "--input-size", "32x32"]
        assert main.run(["export", "file:weights.pt", "-o", str(out), *arguments]) == 0
    return out
