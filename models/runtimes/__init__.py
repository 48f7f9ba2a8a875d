"""The runtimes: one module each, found by looking into this folder; `models.selection` chooses among them."""

from __future__ import annotations

from functools import cache

from pinnace.models.errors import MissingDependency
from pinnace.models.plugins import declared
from pinnace.models.runtimes.base import Runtime


@cache
def all_runtimes() -> dict[str, type[Runtime]]:
    """Every runtime by name, whether or not it works here; the preferred one for a format first."""
    found: list[type[Runtime]] = declared(__name__, __path__, "RUNTIME")
    return {runtime.name: runtime for runtime in sorted(found, key=lambda runtime: runtime.rank)}


def runtimes_for(format: str) -> list[type[Runtime]]:
    """The runtimes that read a format, in order of preference."""
    return [runtime for runtime in all_runtimes().values() if format in runtime.formats]


def require_runtime(format: str) -> None:
    """Check that something here reads a format, for what is written is proved.

    Raises:
        MissingDependency: nothing does.
    """
    readers = readers_for(format)
    if all(reader.unavailable_reason() is not None for reader in readers):
        hints = [hint for reader in readers if (hint := reader.install_hint())]
        raise MissingDependency(
            f"{format} cannot be proved here: no runtime that reads it is installed",
            hint=" or ".join(hints) or None,
        )


def readers_for(format: str, runtime: str | None = None) -> list[type[Runtime]]:
    """The runtimes that read a format: the one of that name, or all that need not be asked for by name."""
    readers = runtimes_for(format)
    return [r for r in readers if (not r.opt_in if runtime is None else r.name == runtime)]
