"""The export formats: one module each, found by looking into this folder."""

from __future__ import annotations

from functools import cache

from pinnace.export.formats.base import Format
from pinnace.export.precision.base import Conversion
from pinnace.models.errors import UsageError
from pinnace.models.plugins import declared
from pinnace.models.variant_name import VariantName


@cache
def all_formats() -> dict[str, Format]:
    """Every format by name."""
    formats: list[Format] = declared(__name__, __path__, "FORMAT")
    return {format.name: format for format in formats}


def format_of(variant: VariantName) -> Format:
    """The format that writes a variant.

    Raises:
        UsageError: no format writes it.
    """
    format = all_formats().get(variant.format)
    if format is None or variant.precision not in format.kinds:
        known = [f"{f.name}-{kind}" for f in all_formats().values() for kind in f.kinds]
        raise UsageError(
            f"no format writes {str(variant)!r}", expected="one of " + ", ".join(known), got=str(variant)
        )
    return format


def conversion_of(variant: VariantName) -> Conversion | None:
    """What makes a variant from its format's fp32 file; None for one that is written from the network.

    Raises:
        UsageError: as `format_of`.
    """
    return format_of(variant).conversions.get(variant.precision)


def precision_of(variant: VariantName) -> str:
    """The precision that a variant computes in, such as `int8` for `onnx-int8sym`, `fp32` for `pt2-aoti`.

    Raises:
        UsageError: as `format_of`.
    """
    return format_of(variant).kinds[variant.precision]
