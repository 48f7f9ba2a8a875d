"""How figures are written."""

from __future__ import annotations


def number(value: float) -> str:
    """Three significant digits, and never an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def megabytes(value: int | None) -> str:
    """Bytes in units of a million, or nothing for None."""
    return "" if value is None else number(value / 1e6)


def ms(value: float) -> str:
    """Milliseconds with three significant digits."""
    return f"{number(value)} ms"
