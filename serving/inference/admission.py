"""Admission control: accepts the requests that can be answered in time and for which there is memory.

A request that cannot be answered in time is refused at once, before its body is read where that is known by
then, so that the client can go elsewhere and the machine spends its time on those that are in.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from pinnace.models.errors import ImageTooLarge
from pinnace.serving.errors import Overloaded

_LONGEST_WAIT = 60

# How much one more image counts in the average of the times that images took.
_WEIGHT = 0.05
# Bytes of a picture after which free memory is given back, which takes a fraction of what decoding it took.
_LARGE_PICTURE = 64_000_000


@dataclass
class _Reservation:
    """The bytes of one body, and how many still hold it: the request, and each of its images in work."""

    bytes: int = 0
    holders: int = 1


_reservation: ContextVar[_Reservation | None] = ContextVar("pinnace_reservation", default=None)


class Admission:
    """Counts the images that wait or are in work, and the bytes of bodies; threads may call it at once."""

    def __init__(
        self,
        *,
        slots: int,
        queue: int,
        timeout: float,
        max_bytes: int,
        max_decoded_bytes: int = 1_000_000_000,
        on_change: Callable[[int], None] | None = None,
    ) -> None:
        """Start empty.

        Args:
            slots: images in work at once.
            queue: images that may wait.
            timeout: seconds in which an image must be answered.
            max_bytes: bytes of request bodies held at once.
            max_decoded_bytes: bytes that decoding takes at once.
            on_change: called, one call at a time, with the number of images that wait or are in work.
        """
        self._on_change = on_change
        self._slots = slots
        self._room = slots + queue
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._max_decoded_bytes = max_decoded_bytes
        self._decoded_bytes = 0
        self._large_is_done = False
        self._images = 0
        self._bytes = 0
        self._seconds = 0.0
        self._stopping = False
        self._lock = threading.Lock()

    @property
    def images(self) -> int:
        """Images that wait or are in work."""
        return self._images

    @property
    def bytes(self) -> int:
        """Bytes of request bodies that are held."""
        return self._bytes

    @property
    def seconds(self) -> float:
        """What an image takes, on average, once it is in work."""
        return self._seconds

    def stop(self) -> None:
        """Refuse new requests; those whose bodies are being read may still enter."""
        self._stopping = True

    def check(self) -> None:
        """Refuse a request that could not be let in now; its body need not be read.

        Raises:
            Overloaded: as `enter`, or the server is stopping.
        """
        if self._stopping:
            raise Overloaded("the server is stopping")
        self._check_room(1)

    def _check_room(self, images: int) -> None:
        if not self._images:
            return
        if self._images + images > self._room:
            raise Overloaded(f"{self._images} images wait or are in work", retry_after=self._retry_after())
        if self._wait(self._images + images) > self._timeout:
            raise Overloaded(
                f"{self._images} images wait or are in work, and another would not be answered within "
                f"{self._timeout:g} s",
                retry_after=self._retry_after(),
            )

    def enter(self, images: int = 1) -> None:
        """Let images in; each is counted until `leave` is called for it.

        Args:
            images: how many come together; more than there is room for at all come in when nothing else is.

        Raises:
            Overloaded: too many wait, or the last of these would be late.
        """
        with self._lock:
            self._check_room(images)
            self._change(images)

    def leave(self) -> None:
        """Count one image less: it is done, or was cancelled."""
        with self._lock:
            self._change(-1)

    def _change(self, by: int) -> None:
        self._images += by
        if self._on_change is not None:
            self._on_change(self._images)

    def record_duration(self, seconds: float) -> None:
        """Add a duration to the average time that an image is in work."""
        with self._lock:
            self._seconds += (seconds - self._seconds) * (_WEIGHT if self._seconds else 1.0)

    @contextlib.contextmanager
    def decoding(self) -> Iterator[Callable[[int], None]]:
        """Account for the memory of one picture, until the end of the `with` statement.

        Yields:
            What is called with the bytes that decoding it takes, before it is decoded; it raises Overloaded
            where other pictures leave no room, and ImageTooLarge where there never is.
        """
        held = 0

        def reserve(count: int) -> None:
            nonlocal held
            if count > self._max_decoded_bytes:
                raise ImageTooLarge(
                    f"the image takes {count:,} bytes of memory to decode",
                    expected=f"at most {self._max_decoded_bytes:,} bytes",
                )
            with self._lock:
                if self._decoded_bytes + count > self._max_decoded_bytes:
                    raise Overloaded("other images fill the memory", retry_after=self._retry_after())
                self._decoded_bytes += count
                held += count

        try:
            yield reserve
        finally:
            with self._lock:
                self._decoded_bytes -= held
                self._large_is_done |= held >= _LARGE_PICTURE

    def large_is_done(self) -> bool:
        """Whether a large picture was decoded since this was asked last."""
        with self._lock:
            done, self._large_is_done = self._large_is_done, False
        return done

    @contextlib.contextmanager
    def reserved_memory(self) -> Iterator[Callable[[int], None]]:
        """Account for the bytes of one body, until the end of the `with` statement and of work begun in it.

        Yields:
            What is called with a number of bytes before they are kept; it raises Overloaded where there are
            too many already.
        """
        reservation = _Reservation()

        def hold(count: int) -> None:
            with self._lock:
                if self._bytes + count > self._max_bytes:
                    raise Overloaded("other requests fill the memory", retry_after=self._retry_after())
                self._bytes += count
                reservation.bytes += count

        token = _reservation.set(reservation)
        try:
            yield hold
        finally:
            _reservation.reset(token)
            self._release(reservation)

    def keep_reserved(self) -> Callable[[], None]:
        """Go on counting the body of the request that this is called for, until what is returned is called.

        Its client may go away while a thread is at work on it: the body stays in memory until that is done.
        """
        reservation = _reservation.get()
        if reservation is None:
            return lambda: None
        with self._lock:
            reservation.holders += 1
        return lambda: self._release(reservation)

    def _release(self, reservation: _Reservation) -> None:
        with self._lock:
            reservation.holders -= 1
            if not reservation.holders:
                self._bytes -= reservation.bytes

    def _wait(self, images: int) -> float:
        """Seconds until as many images are done."""
        return math.ceil(images / self._slots) * self._seconds

    def _retry_after(self) -> int:
        """Whole seconds in which half of what waits will be done."""
        return min(_LONGEST_WAIT, max(1, math.ceil(self._wait(self._images) / 2)))
