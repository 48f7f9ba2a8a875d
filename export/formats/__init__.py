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
    """The format of a variant's name, and what stands after the dash.

    Raises:
        UsageError: no format writes it.
    """
    name, _, kind = variant.rpartition("-")
    format = all_formats().get(name)
    if format is None or kind not in format.kinds:
        known = [f"{f.name}-{kind}" for f in all_formats().values() for kind in f.kinds]
        raise UsageError(f"no format writes {variant!r}", expected="one of " + ", ".join(known), got=variant)
    return format, kind


def precision_of(variant: str) -> str:
    """The precision of a variant, such as `int8` for `onnx-int8sym`.

    Raises:
        UsageError: as `split`.
    """
    format, kind = split(variant)
    return format.kinds[kind]
