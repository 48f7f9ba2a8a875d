"""Which packages are installed here."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version


def installed_version(distribution: str) -> str | None:
    """The version of a distribution, or None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def installed_versions(distributions: Iterable[str]) -> dict[str, str]:
    """The versions of those that are installed, by name, in the same order."""
    found = {name: installed_version(name) for name in distributions}
    return {name: number for name, number in found.items() if number is not None}
