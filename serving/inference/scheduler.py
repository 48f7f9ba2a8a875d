"""Decides when a thread of this process may begin with an image: at once, while a CPU is free.

More images in work than there are CPUs would take each other's caches. So each process has its share of them
in work, and more only while other processes of the server leave theirs: a batch, whose images are all in one
process, has several CPUs, until requests in the other processes need them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
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


class _Seat(Generic[Item]):
    """Where a thread sits while it has no item; it is woken with one, or to look for itself."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.item: Item | None = None
        self.in_work = 0
        self.woken = threading.Lock()
        self.woken.acquire()

    def wake(self) -> None:
        """Let the thread look; it may have been told to already."""
        if self.woken.locked():
            self.woken.release()

    def take(self) -> Item:
        """Take the item from the seat, so that nothing here keeps it."""
        item, self.item = self.item, None
        assert item is not None
        return item


class Scheduler(Generic[Item]):
    """A queue of items for worker threads, which limits how many items are in work at once.

    A thread that is done takes the next item itself, and of the idle ones that with the smallest number is
    woken. So one thread does the work of a process that has one CPU, and no other asks for the interpreter.
    """

    def __init__(self, share: int, processes: int = 1) -> None:
        """Start with an empty queue; without `share_cpus_with` every item of weight 1 may begin at once.

        Args:
            share: how many items may always be in work in this process, by their weight; one always may.
            processes: how many have such a share.
        """
        self._share = share
        self._all = share * processes
        self._peers: PeerLoads | None = None
        self._lock = threading.Lock()
        self._items: deque[tuple[Item, int]] = deque()
        self._idle: list[_Seat[Item]] = []
        self._watcher: _Seat[Item] | None = None
        self._in_work = 0
        self._closed = False

    def share_cpus_with(self, peers: PeerLoads) -> None:
        """From now on, go beyond the own share only while the other processes leave CPUs free."""
        self._peers = peers

    def put(self, item: Item, weight: int = 1) -> None:
        """Append an item; an idle thread has it at once, if it may begin.

        Args:
            item: what is to be done.
            weight: as how many it counts while it is in work.
        """
        with self._lock:
            self._items.append((item, weight))
            self._wake()

    def more(self, wanted: Callable[[Item], bool], most: int, threads: int = 1) -> list[Item]:
        """Take the items that have waited longest, for a thread to do with the one that it has.

        Args:
            wanted: the first that is not wanted stays, and so do all behind it.
            most: how many at the most.
            threads: by how many threads, this one included, what waits is to be done; an idle one that may
                begin is one more.
        """
        taken: list[Item] = []
        with self._lock:
            among = threads + bool(self._idle and self._may_begin())
            most = min(most, -(-len(self._items) // among))
            while self._items and len(taken) < most and wanted(self._items[0][0]):
                taken.append(self._items.popleft()[0])
            if taken:
                self._publish_demand()
        return taken

    def items(self, number: int = 0) -> Iterator[Item]:
        """The items of one thread, each when it may begin; it is in work until the next one is asked for.

        Args:
            number: of the thread.

        Yields:
            The item that has waited longest, until the scheduler is closed.
        """
        seat: _Seat[Item] = _Seat(number)
        while self._next(seat):
            yield seat.take()

    def close(self) -> list[Item]:
        """Let no further item begin, and end the threads that are idle.

        Returns:
            What waited.
        """
        with self._lock:
            self._closed = True
            for seat in self._idle:
                seat.wake()
            return [item for item, _ in self._items]

    def _next(self, seat: _Seat[Item]) -> bool:
        """Wait until the seat has an item; False where there will be none."""
        with self._lock:
            self._in_work -= seat.in_work
            seat.in_work = 0
            begun = self._may_begin() and self._begin(seat)
            if not begun and not self._closed:
                self._idle.append(seat)
            self._wake()
            if begun or self._closed:
                return begun
        while True:
            seat.woken.acquire(timeout=_POLL_SECONDS if self._watcher is seat else -1)
            with self._lock:
                if seat.item is not None or self._closed:
                    return seat.item is not None
                if self._watcher is seat and self._may_begin() and self._begin(seat):
                    self._idle.remove(seat)
                    self._wake()
                    return True
                if self._watcher is seat and not self._in_work:
                    self._watcher = None

    def _wake(self) -> None:
        """Give idle threads what may begin; of those that are left, one watches the other processes."""
        while self._items and self._idle and not self._closed and self._may_begin():
            seat = min(self._idle, key=lambda seat: seat.number)
            self._idle.remove(seat)
            self._begin(seat)
            seat.wake()
        if self._items and self._idle and self._watcher is None:
            self._watcher = max(self._idle, key=lambda seat: seat.number)
            self._watcher.wake()
        self._publish_demand()

    def _begin(self, seat: _Seat[Item]) -> bool:
        if self._closed or not self._items:
            return False
        seat.item, seat.in_work = self._items.popleft()
        self._in_work += seat.in_work
        if self._watcher is seat:
            self._watcher = None
        return True

    def _may_begin(self) -> bool:
        if self._in_work < self._share:
            return True
        if self._peers is None:
            return not self._items or self._items[0][1] == 1
        return self._in_work + self._peers.images_of_peers() < self._all

    def _publish_demand(self) -> None:
        # What waits counts, up to the share: the moment between two images does not look like a free CPU.
        if self._peers is not None:
            demand = self._in_work + len(self._items)
            self._peers.set_images(max(self._in_work, min(self._share, demand)))
