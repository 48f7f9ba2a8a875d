"""A share of what comes, evenly spread."""

from __future__ import annotations


class Share:
    """Says of each item whether it is its turn."""

    def __init__(self, share: float) -> None:
        """Take a share of the items, more than 0, 1 at most."""
        self._share = share
        self._due = 0.0

    def takes_next(self) -> bool:
        """Whether the next item is one of the share."""
        self._due += self._share
        if self._due < 1 - 1e-9:
            return False
        self._due -= 1
        return True
