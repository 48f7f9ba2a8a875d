"""How long to wait before a retry."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 60.0

_FIRST_WAIT = 0.2
_LONGEST_STEP = 10.0


@dataclass(frozen=True)
class Retry:
    """Exponential backoff with jitter, which respects `Retry-After`.

    Attributes:
        retries: how often a request is made again after the first attempt.
    """

    retries: int = 3

    def wait(self, failures: int, requested: float | None = None) -> float | None:
        """Seconds until the next attempt, or None where there should be none.

        Args:
            failures: attempts that have failed; 1 after the first.
            requested: seconds of the server's `Retry-After`; the wait is never shorter. There is no retry
                above a minute.
        """
        if failures > self.retries or (requested or 0.0) > LONGEST_WAIT:
            return None
        step = min(_FIRST_WAIT * 2 ** (failures - 1), _LONGEST_STEP)
        # Jitter, so that clients that failed together do not retry together.
        jittered: float = step * random.uniform(0.5, 1.0)
        return jittered if requested is None else requested + jittered


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` header asks for (RFC 9110, section 10.2.3), or None where it says nothing.

    Args:
        value: the header: seconds, or an HTTP date.
        now: the time of the answer, with a time zone; the present by default.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return max(0.0, (when - (now or datetime.now(timezone.utc))).total_seconds())
