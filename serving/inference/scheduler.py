"""Decides when a thread of this process may begin with an image: at once, while a CPU is free.

More images in work than there are CPUs would take each other's caches. So each process has its share of them
in work, and more only while other processes of the server leave theirs: a batch, whose images are all in one
process, has several CPUs, until requests in the other processes need them.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")

# How often the other processes' need is read again; only while an item waits.
_POLL_SECONDS = 0.01


class PeerLoads(Protocol):
    """The numbers that the processes of the server share with each other."""

    def set_images(self, count: int) -> None:
        """Publish how many CPUs this process needs for its images."""

    def images_of_peers(self) -> int:
        """How many CPUs the other processes need together."""


class Scheduler(Generic[Item]):
    """A queue of items for worker threads, which limits how many items are in work at once."""

    def __init__(self, share: int, processes: int = 1) -> None:
        """Start with an empty queue; without `share_cpus_with` every thread begins at once.

        Args:
            share: how many items may always be in work in this process.
            processes: how many have such a share.
        """
        self._share = share
        self._all = share * processes
        self._peers: PeerLoads | None = None
        self._changed = threading.Condition()
        self._items: deque[Item] = deque()
        self._in_work = 0
        self._looking = 0
        self._closed = False

    def share_cpus_with(self, peers: PeerLoads) -> None:
        """From now on, go beyond the own share only while the other processes leave CPUs free."""
        self._peers = peers

    def put(self, item: Item) -> None:
        """Append an item; for each, one thread must call `take`."""
        with self._changed:
            self._items.append(item)
            self._publish_demand()

    @contextlib.contextmanager
    def turn(self) -> Iterator[Item | None]:
        """Wait for a turn, which lasts to the end of the `with` statement.

        Yields:
            The item that has waited longest; None where nothing is to be begun any more.
        """
        with self._changed:
            self._looking += 1
            while not self._may_begin():
                self._changed.wait(_POLL_SECONDS)
            self._looking -= 1
            item = None if self._closed else self._items.popleft()
            self._in_work += 1
            self._publish_demand()
        try:
            yield item
        finally:
            with self._changed:
                self._in_work -= 1
                self._publish_demand()
                if self._looking >= len(self._items):  # else this thread takes the next itself
                    self._changed.notify()

    def close(self) -> list[Item]:
        """Let no further item begin.

        Returns:
            What waited.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return list(self._items)

    def _may_begin(self) -> bool:
        if self._closed or self._in_work < self._share or self._peers is None:
            return True
        return self._in_work + self._peers.images_of_peers() < self._all

    def _publish_demand(self) -> None:
        # What waits counts, up to the share: the moment between two images does not look like a free CPU.
        if self._peers is not None:
            demand = self._in_work + len(self._items)
            self._peers.set_images(max(self._in_work, min(self._share, demand)))
