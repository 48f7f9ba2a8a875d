"""What is in the cache of bundles, and what of it may go."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pinnace.models.bundle.cache import BUNDLES, PARTIAL, RECORDS, cache_folder
from pinnace.models.bundle.transfer import alone_in
from pinnace.models.files import size_of

_LEFT_BEHIND_SECONDS = 86400.0


@dataclass(frozen=True)
class CachedBundle:
    """A bundle of the cache.

    Attributes:
        name: the model's name.
        url: where it came from; without a name, password or query.
        version: the bundle's version.
        bytes: what it takes; a file that several bundles share counts for each.
        used: when it was last asked for, in seconds since 1970.
        current: it is the last that its URL had.
        in_use: a process uses it now.
        folder: where it stands.
    """

    name: str
    url: str
    version: str
    bytes: int
    used: float
    current: bool
    in_use: bool
    folder: Path


@dataclass(frozen=True)
class Pruned:
    """What was removed.

    Attributes:
        bundles: the bundles.
        bytes: what the cache takes less now.
    """

    bundles: tuple[CachedBundle, ...]
    bytes: int


def contents() -> list[CachedBundle]:
    """The bundles of the cache, the one that was asked for last first; one row for each URL that had it."""
    root = cache_folder()
    rows: list[tuple[str, CachedBundle]] = []
    for record in (root / RECORDS).glob("*.json"):
        key, _, identity = record.stem.rpartition("-")
        folder = root / BUNDLES / identity
        try:
            facts = json.loads(record.read_bytes())
            row = CachedBundle(
                name=str(facts["name"]),
                url=str(facts["url"]),
                version=str(facts["version"]),
                bytes=size_of(folder),
                used=record.stat().st_mtime,
                current=False,
                in_use=_in_use(folder),
                folder=folder,
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue  # gone meanwhile, or damaged: it goes with the next prune
        if folder.is_dir():
            rows.append((key, row))
    rows.sort(key=lambda pair: pair[1].used, reverse=True)
    newest: dict[str, CachedBundle] = {}
    for key, row in rows:
        newest.setdefault(key, row)
    return [replace(row, current=newest[key] is row) for key, row in rows]


def prune(older_than: float | None = None, max_bytes: int | None = None) -> Pruned:
    """Remove what its URL no longer has, what was left behind by a pull that broke off, and more if asked.

    What a process uses stays.

    Args:
        older_than: also what was not asked for in so many seconds.
        max_bytes: also what was asked for longest ago, until the cache takes no more than this.
    """
    root = cache_folder()
    if not root.is_dir():
        return Pruned((), 0)
    before = disk_bytes(root)
    rows = contents()
    now = time.time()
    keep: set[Path] = set()
    for row in rows:
        fresh = older_than is None or now - row.used <= older_than
        if row.current and fresh:
            keep.add(row.folder)
    gone = [folder for folder in (root / BUNDLES).glob("*/") if folder not in keep and _remove(root, folder)]
    _remove_partial(root / PARTIAL, now)
    for row in reversed(rows):
        if max_bytes is None or disk_bytes(root) <= max_bytes:
            break
        if row.folder not in gone and _remove(root, row.folder):
            gone.append(row.folder)
    for record in (root / RECORDS).glob("*.json"):
        if not (root / BUNDLES / record.stem.rpartition("-")[2]).is_dir():
            record.unlink(missing_ok=True)
    removed = tuple(row for row in rows if row.folder in gone)
    return Pruned(removed, max(0, before - disk_bytes(root)))


def _remove(root: Path, folder: Path) -> bool:
    """Remove a bundle that no process uses."""
    with alone_in(root):
        return _if_unused(folder, lambda: shutil.rmtree(folder))


def _in_use(folder: Path) -> bool:
    return folder.is_dir() and not _if_unused(folder, lambda: None)


def _if_unused(folder: Path, act: Callable[[], object]) -> bool:
    """Act while no process holds the lock of a folder; whether that was so."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        act()
        return True
    finally:
        os.close(handle)


def _remove_partial(folder: Path, now: float) -> None:
    """Remove what pulls that broke off have left, unless they may yet go on."""
    for one in folder.glob("*/"):
        with contextlib.suppress(OSError):
            newest = max((path.stat().st_mtime for path in (one, *one.rglob("*"))), default=now)
            if now - newest > _LEFT_BEHIND_SECONDS:
                _if_unused(one, lambda one=one: shutil.rmtree(one))  # type: ignore[misc]


def disk_bytes(folder: Path) -> int:
    """The bytes of all files, each counted once however many names it has."""
    found: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                about = path.stat()
                found[about.st_dev, about.st_ino] = about.st_size
    return sum(found.values())
