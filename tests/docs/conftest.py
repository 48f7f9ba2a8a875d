"""A reader of the pages, in a folder like the checkout."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import pages

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pages.Reader]:
    """A reader in a folder like the checkout, who has exported the default model as the README says."""
    home = tmp_path_factory.mktemp("pages")
    folder = home / "checkout"
    shutil.copytree(ROOT / "models" / "photographs", folder / "models" / "photographs")
    shutil.copy(ROOT / "README.md", folder)
    reader = pages.Reader(folder, home)
    try:
        (export,) = [
            each for each in pages.commands(ROOT / "README.md") if each.startswith("pinnace export ")
        ]
        reader.type(export)
        yield reader
    finally:
        reader.leave()
