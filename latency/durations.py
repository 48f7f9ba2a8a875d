"""Times as people write them: `90s`, `10m`, `1h30m`, `30d`."""

from __future__ import annotations

import re

from pinnace.models.errors import UsageError

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
_PARTS = re.compile(r"(\d+(?:\.\d+)?)(d|h|m|s|)")


def parse_duration(text: str, option: str) -> float:
    """Seconds.

    Args:
        text: numbers with `d`, `h`, `m` or `s` behind them; without a unit, seconds.
        option: whose value it is, for the message.

    Raises:
        UsageError: it is something else, or nothing at all.
    """
    plain = text.strip().lower()
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PARTS.findall(plain))
    if not re.fullmatch(f"(?:{_PARTS.pattern})+", plain) or seconds <= 0:
        raise UsageError(f"{option} cannot be read as a time", expected="such as 90s, 10m or 1h30m", got=text)
    return seconds
