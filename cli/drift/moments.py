"""Moments as a user types them: `24h` ago, or a date."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone

from pinnace.models.errors import UsageError

_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d+(?:\.\d+)?)([mhdw])")


def parse_moment(typed: str) -> float:
    """Seconds since 1970 of a time ago, such as `24h`, or of a date, with a time or without; UTC.

    Raises:
        UsageError: it is neither.
    """
    ago = _AGO.fullmatch(typed.strip())
    if ago is not None:
        return time.time() - float(ago[1]) * _SECONDS[ago[2]]
    try:
        moment = datetime.fromisoformat(typed.strip().replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(
            "that is no moment",
            expected="minutes, hours, days or weeks ago, such as 30m, 24h, 7d or 2w, or a date, 2026-11-27",
            got=typed,
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()
