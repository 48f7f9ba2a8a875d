"""Where the parts of a record stand, by name: `rows/TIME-WRITER.parquet`, and `images/` likewise."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import datetime, timezone

from pinnace.models import file_stores

ROWS, IMAGES = "rows", "images"

_TIME = "%Y%m%dT%H%M%S.%fZ"
_SUFFIX = ".parquet"
_UNFINISHED = 3600.0


@dataclass(frozen=True)
class Part:
    """A file of a record.

    Attributes:
        folder: `rows` or `images`.
        name: of the file: the time at which it was written, and who wrote it.
        bytes: its size.
    """

    folder: str
    name: str
    bytes: int


def part_name(moment: float, writer: str) -> str:
    """The name of a part that is written at a time, in seconds since 1970; names sort by it."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime(_TIME) + f"-{writer}{_SUFFIX}"


def written_at(name: str) -> float:
    """When a part was written, in seconds since 1970.

    Raises:
        ValueError: it is not a name of a part.
    """
    if not name.endswith(_SUFFIX):
        raise ValueError(name)
    moment = datetime.strptime(name.partition("-")[0], _TIME)
    return moment.replace(tzinfo=timezone.utc).timestamp()


def parts_of(place: str, folder: str) -> list[Part]:
    """The parts of a record, oldest first; none where there is no record.

    Args:
        place: a folder, or the URI of one.
        folder: `rows` or `images`.

    Raises:
        OSError: the place cannot be read.
        UsageError: nothing here knows such a URI.
    """
    from pyarrow import fs

    store, path = file_stores.open_store(file_stores.join(place, folder))
    found = []
    for info in store.get_file_info(fs.FileSelector(path, allow_not_found=True)):
        if info.is_file:
            with contextlib.suppress(ValueError):
                written_at(info.base_name)
                found.append(Part(folder, info.base_name, info.size))
    return sorted(found, key=lambda part: part.name)


def remove_unfinished(place: str) -> None:
    """Remove what a writer that was killed has left, once it is an hour old.

    Raises:
        OSError: the place cannot be read or written.
    """
    from pyarrow import fs

    store, path = file_stores.open_store(file_stores.join(place, file_stores.TEMPORARY))
    for info in store.get_file_info(fs.FileSelector(path, allow_not_found=True)):
        if info.is_file and info.mtime_ns is not None and info.mtime_ns / 1e9 < time.time() - _UNFINISHED:
            with contextlib.suppress(FileNotFoundError):
                store.delete_file(info.path)


def remove_oldest(place: str, most: int) -> None:
    """Remove parts until a record has no more than so many bytes: the oldest images first, then rows.

    Raises:
        OSError: the place cannot be read or written.
    """
    parts = [*parts_of(place, IMAGES), *parts_of(place, ROWS)]
    left = sum(part.bytes for part in parts)
    for part in parts:
        if left <= most:
            return
        store, path = file_stores.open_store(file_stores.join(place, f"{part.folder}/{part.name}"))
        with contextlib.suppress(FileNotFoundError):  # another worker was quicker
            store.delete_file(path)
        left -= part.bytes
