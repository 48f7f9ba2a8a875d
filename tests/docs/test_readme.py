"""What README.md tells a newcomer to type works."""

from __future__ import annotations

import json
import re
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGE = runpy.run_path(str(Path(__file__).with_name("page.py")))
BUNDLE = "efficientnet_lite0.bundle"

NETWORK = """
import torch

def build():
    return torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 10)
    )
"""

# Not typed: what installs, and the export of the default model, which takes half a minute. That their words
# are right is checked below and in test_pages.py.
NOT_TYPED = ("make ", "source ", "pinnace export ")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A reader in a folder like the checkout, where a small network stands for the default model."""
    home = tmp_path_factory.mktemp("readme")
    folder = home / "checkout"
    shutil.copytree(ROOT / "export" / "photographs", folder / "export" / "photographs")
    (folder / "net.py").write_text(NETWORK)
    torch.save(runpy.run_path(str(folder / "net.py"))["build"]().state_dict(), folder / "weights.pt")
    reader = PAGE["Reader"](folder, home)
    try:
        reader.type(f"pinnace export file:weights.pt --arch net:build --format onnx -o {BUNDLE}")
        yield reader
    finally:
        reader.leave()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README uses curl")
def test_what_is_typed_works(reader: Any) -> None:
    typed = [command for command in PAGE["commands"](README) if not command.startswith(NOT_TYPED)]
    assert len(typed) == 6
    for command in typed:
        printed = reader.type(command)
        if command.startswith("curl "):
            assert len(json.loads(printed)["predictions"]) == 1


def test_the_first_commands_are_the_two_that_a_fresh_machine_needs() -> None:
    assert PAGE["commands"](README)[:2] == ["make serve", "make test"]


def test_make_has_the_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [command.split()[1] for command in PAGE["commands"](README) if command.startswith("make ")]
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE), target
