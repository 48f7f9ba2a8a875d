"""Machines that cannot be here, laid out as files; see `support.boards`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pinnace.latency.device.sysfs import Sysfs
from support.boards import ORIN, Files


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[Files], Sysfs]:
    """Lay a machine's files out under a root of its own."""

    def lay(files: Files) -> Sysfs:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Sysfs(tmp_path)

    return lay


@pytest.fixture
def orin(machine: Callable[[Files], Sysfs]) -> Sysfs:
    return machine(ORIN)
