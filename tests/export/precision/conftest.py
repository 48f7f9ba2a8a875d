"""Exports in this interpreter, and pictures to calibrate with."""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pinnace.export import exporter
from pinnace.export.request import ExportedFiles, ExportRequest
from pinnace.export.worker.main import export_files
from pinnace.models.progress import ignore

Step = Callable[[str], None]
Write = Callable[[ExportRequest], tuple[Path, ExportedFiles]]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Loads and writes what is asked for, once, in this interpreter: a folder, and what was learnt."""

    @functools.cache
    def write(request: ExportRequest) -> tuple[Path, ExportedFiles]:
        folder = tmp_path_factory.mktemp("written")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "path", list(sys.path))
            patch.delitem(sys.modules, "sample_networks", raising=False)
            return folder, export_files(request, folder, ignore)

    return write


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, written: Write) -> None:
    """No child interpreter, and the same network is not exported twice: neither is the point here."""

    def run(request: ExportRequest, folder: Path, log: Path, step: Step, *, timeout: float) -> ExportedFiles:
        source, exported = written(request)
        shutil.copytree(source, folder, dirs_exist_ok=True)
        return exported

    monkeypatch.setattr(exporter, "run_worker", run)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 soft patches of colour, 16 x 16; and a file that is no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(24):
        patch = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        patch.resize((16, 16), Image.Resampling.BICUBIC).save(folder / f"{index:02}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    return folder
