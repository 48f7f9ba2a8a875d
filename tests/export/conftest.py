"""What makes many exports in one process quick."""

from __future__ import annotations

import pytest

from support.warm_export import registry


@pytest.fixture(scope="session", autouse=True)
def _one_registry() -> None:
    registry.remember()
