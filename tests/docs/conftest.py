"""A reader of the pages, in a folder like the checkout."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
PAGE = runpy.run_path(str(ROOT / "tests" / "support" / "page.py"))
BUNDLE = "efficientnet_lite0.bundle"

NETWORK = """
import torch

def build():
    return torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 10)
    )
"""


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A reader in a folder like the checkout, where a small network stands for the default model."""
    home = tmp_path_factory.mktemp("pages")
    folder = home / "checkout"
    shutil.copytree(ROOT / "models" / "photographs", folder / "models" / "photographs")
    shutil.copy(ROOT / "README.md", folder)
    (folder / "net.py").write_text(NETWORK)
    torch.save(runpy.run_path(str(folder / "net.py"))["build"]().state_dict(), folder / "weights.pt")
    reader = PAGE["Reader"](folder, home)
    try:
        reader.type(f"pinnace export file:weights.pt --arch net:build --format onnx -o {BUNDLE}")
        yield reader
    finally:
        reader.leave()
