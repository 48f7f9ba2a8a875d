"""Collects rows, and the images where they are kept, and writes them as parts of a record."""

from __future__ import annotations

import os
import time

from pinnace.models import file_stores
from pinnace.models.records.places import IMAGES, ROWS, part_name, remove_oldest, remove_unfinished
from pinnace.models.records.rows import RecordRow, encode_images, encode_rows

# A part with so many bytes of images, or so many rows, is written before its time.
MOST_IMAGE_BYTES = 16_000_000
MOST_ROWS = 20_000


class PartWriter:
    """The parts that one worker writes; every method belongs to one thread."""

    def __init__(self, place: str, seconds: float, most_bytes: int) -> None:
        """Write nothing yet.

        Args:
            place: the record: a folder, or the URI of one.
            seconds: after which a row is written at the latest.
            most_bytes: of the whole record; the oldest parts are removed.
        """
        self._place = place
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._writer = os.urandom(4).hex()
        self._due: float | None = None
        self._lines: list[bytes] = []
        self._images: dict[str, bytes] = {}
        self.rows = 0
        self.image_bytes = 0

    def add(self, rows: list[RecordRow], images: dict[str, bytes]) -> None:
        """Collect rows, and images by their hash."""
        if not rows:
            return
        self._lines += [row.to_json() for row in rows]
        self.rows += len(rows)
        for name, data in images.items():
            if name not in self._images:
                self._images[name] = data
                self.image_bytes += len(data)
        if self._due is None:
            self._due = time.monotonic() + self._seconds

    @property
    def is_due(self) -> bool:
        """Whether it is time to write."""
        full = self.rows >= MOST_ROWS or self.image_bytes >= MOST_IMAGE_BYTES
        return self._due is not None and (full or time.monotonic() >= self._due)

    def write(self) -> None:
        """Write what was collected, and remove what is too old.

        Raises:
            OSError: the place takes no files; what was collected is kept until `drop`.
        """
        if not self.rows:
            return
        name = part_name(time.time(), self._writer)
        if self._images:  # first: a row whose image is missing is one that was removed
            file_stores.write(self._place, f"{IMAGES}/{name}", encode_images(self._images))
        file_stores.write(self._place, f"{ROWS}/{name}", encode_rows(self._lines))
        self.drop()
        remove_unfinished(self._place)
        remove_oldest(self._place, self._most_bytes)

    def drop(self) -> None:
        """Forget what was collected."""
        self._lines, self._images = [], {}
        self.rows = self.image_bytes = 0
        self._due = None
