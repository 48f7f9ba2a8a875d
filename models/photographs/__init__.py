"""Three photographs for golden inputs and for measuring; SOURCES.md says whose they are."""

from __future__ import annotations

from pathlib import Path


def photographs() -> list[Path]:
    """Their files, JPEG, in a fixed order."""
    return sorted(Path(__file__).parent.glob("*.jpg"))
