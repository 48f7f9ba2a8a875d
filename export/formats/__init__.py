"""The export formats: one module each, found by looking into this folder."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from pinnace.export.formats.base import Format
from pinnace.models.errors import UsageError


@cache
def all_formats() -> dict[str, Format]:
    """Every format by name."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name != "base"]
    formats: list[Format] = [importlib.import_module(f"{__name__}.{name}").FORMAT for name in names]
    return {format.name: format for format in formats}


def split(variant: str) -> tuple[Format, str]:
    """The format and the precision of a variant's name.

    Raises:
        UsageError: no format writes it.
    """
    name, _, precision = variant.rpartition("-")
    format = all_formats().get(name)
    if format is None or precision not in format.precisions:
        known = [f"{f.name}-{p}" for f in all_formats().values() for p in f.precisions]
        raise UsageError(f"no format writes {variant!r}", expected="one of " + ", ".join(known), got=variant)
    return format, precision
