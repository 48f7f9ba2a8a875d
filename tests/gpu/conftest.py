"""Every test of this folder needs an NVIDIA GPU, and is skipped with the reason where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinnace.models.runtimes import cuda

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    if ours and (problem := cuda.unavailable_reason()) is not None:
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=f"needs an NVIDIA GPU: {problem}"))
