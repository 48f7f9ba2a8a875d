"""A reader of the pages, in a folder like the checkout."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from support import pages, small_networks

ROOT = Path(__file__).parents[2]
BUNDLE = "efficientnet_lite0.bundle"


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pages.Reader]:
    """A reader in a folder like the checkout, where a small network stands for the default model."""
    home = tmp_path_factory.mktemp("pages")
    folder = home / "checkout"
    shutil.copytree(ROOT / "models" / "photographs", folder / "models" / "photographs")
    shutil.copy(ROOT / "README.md", folder)
    shutil.copy(small_networks.__file__, folder / "net.py")
    torch.save(small_networks.linear().state_dict(), folder / "weights.pt")
    reader = pages.Reader(folder, home)
    try:
        reader.type(f"pinnace export file:weights.pt --arch net:linear --format onnx -o {BUNDLE}")
        yield reader
    finally:
        reader.leave()
