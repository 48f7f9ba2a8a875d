"""The cache of bundles that are elsewhere: each by what it is, whole, and never changed.

A bundle's folder is named after its manifest and its signature, which between them have the hash of every
file. Beside the folders stand records: which URL had which bundle, and when it was last asked for. A process
that uses a bundle holds a lock on its folder, so that nothing removes it meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.download import UnreachableError, not_written
from pinnace.models.bundle.transfer import (
    Described,
    alone_in,
    assemble,
    called,
    describe,
    fetch_all,
    file_hashes,
    identity,
    require_folder,
)
from pinnace.models.errors import PinnaceError
from pinnace.models.files import write_atomic
from pinnace.models.progress import Progress, ignore
from pinnace.models.urls import without_secrets

VARIABLE = "PINNACE_CACHE"

BUNDLES = "bundles"
RECORDS = "records"
PARTIAL = "partial"
_DIGITS = 32

# The locks of what this process uses, by folder, for as long as it lives.
_held: dict[Path, int] = {}


@dataclass(frozen=True)
class LocalCopy:
    """A bundle from elsewhere that is here now.

    Attributes:
        folder: where it stands, for as long as this process lives; nothing may be written there.
        note: a sentence, where nothing answered at the URL and this is what was there before.
    """

    folder: Path
    note: str | None = None


def cache_folder() -> Path:
    """`$PINNACE_CACHE`, or `pinnace` in the user's folder for caches."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).absolute()
    own = Path("~/Library/Caches" if sys.platform == "darwin" else "~/.cache").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or own).absolute() / "pinnace"


def local_copy(url: str, progress: Progress = ignore, *, offline: bool = True) -> LocalCopy:
    """The bundle at a URL as a local folder: from the cache, where it has what is there now.

    Files that another bundle of the cache has are taken from there; a pull that was cut goes on.

    Args:
        url: as for `pinnace.models.bundle.transfer.pull`.
        progress: told of each file that is fetched.
        offline: where nothing answers, take what was there last.

    Raises:
        As `pinnace.models.bundle.transfer.pull`; with `offline`, where nothing answers, only if the cache has
        nothing either.
    """
    require_folder(url)
    root, key = cache_folder(), _key(url)
    try:
        with alone_in(root / PARTIAL / key):
            found = describe(url, root / PARTIAL / key)
            folder = _whole(root, found.identity) or _fetched(root, found, progress)
            _write_record(root, key, url, found)
            shutil.rmtree(root / PARTIAL / key)
    except UnreachableError as error:
        record = _latest(root, key)
        known = None if record is None else _whole(root, record.stem.rpartition("-")[2])
        if not offline or record is None or known is None:
            raise
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.stat().st_mtime))
        version = _accepted(known, url).version
        return LocalCopy(known, f"{error.message}; the cache has version {version}, of {when}, and answers")
    _accepted(folder, url)
    return LocalCopy(folder)


def identity_at(url: str) -> str:
    """What stands at a URL now: two bundles of the same identity are the same. Nothing is kept.

    Raises:
        As `pinnace.models.bundle.transfer.pull`.
    """
    folder = cache_folder() / PARTIAL / f"{_key(url)}-{os.getpid()}"
    try:
        return describe(url, folder).identity[:_DIGITS]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def disown(url: str, folder: Path) -> None:
    """Forget that a URL had a bundle, which turned out to be no good: without a network, another answers."""
    record = cache_folder() / RECORDS / f"{_key(url)}-{folder.name}.json"
    with contextlib.suppress(OSError):
        record.unlink()
    release(folder)


def release(folder: Path) -> None:
    """Let others remove a bundle that this process, and those that it started, no longer use."""
    import fcntl

    handle = _held.pop(folder, None)
    if handle is not None:
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _accepted(folder: Path, url: str) -> Bundle:
    """The bundle, if the trusted key has signed it where there is one; errors name the URL."""
    with called(without_secrets(url), folder):
        return Bundle.open(folder)


def _key(url: str) -> str:
    return hashlib.sha256(without_secrets(url).rstrip("/").encode()).hexdigest()[:_DIGITS]


def is_cached(folder: Path) -> bool:
    """Whether a bundle stands in the cache, where nothing may be changed."""
    return folder.absolute().parent == cache_folder() / BUNDLES


def _whole(root: Path, name: str) -> Path | None:
    """The folder of a bundle of the cache, held, if all of its files are right."""
    folder = root / BUNDLES / name[:_DIGITS]
    with alone_in(root):  # nothing is removed between the look and the lock
        if not folder.is_dir():
            return None
        hold(folder)
    try:
        if identity(folder)[:_DIGITS] != folder.name:
            return None
        Bundle.open(folder, check_signature=False).check_files()
    except (OSError, PinnaceError):  # a disk forgets, and people clean up
        return None
    return folder


def hold(folder: Path) -> None:
    """Keep others from removing a bundle of the cache for as long as this process lives."""
    import fcntl

    if folder not in _held:
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_SH)
        _held[folder] = handle


def _fetched(root: Path, found: Described, progress: Progress) -> Path:
    _reuse(root, found)
    fetch_all(found, progress)
    folder = root / BUNDLES / found.identity[:_DIGITS]
    with alone_in(root):
        release(folder)
        assemble(found, folder)
        hold(folder)
    return folder


def _reuse(root: Path, found: Described) -> None:
    """Take files that other bundles of the cache have; each is compared with its hash afterwards."""
    there: dict[str, Path] = {}
    for folder in (root / BUNDLES).glob("*/"):
        with contextlib.suppress(PinnaceError):
            other = Bundle.open(folder, check_signature=False)
            there |= {digest: folder / name for name, digest in file_hashes(other).items()}
    for name, digest in file_hashes(found.bundle).items():
        place = found.bundle.folder / name
        if digest in there and not place.exists():
            with contextlib.suppress(OSError):
                place.parent.mkdir(parents=True, exist_ok=True)
                os.link(there[digest], place)


def _write_record(root: Path, key: str, url: str, found: Described) -> None:
    """Note that a URL has a bundle now; the time of the file is when it was last asked for."""
    record = root / RECORDS / f"{key}-{found.identity[:_DIGITS]}.json"
    facts = {
        "url": without_secrets(url),
        "name": found.bundle.name,
        "version": found.bundle.version,
        "pulled": time.time(),
    }
    try:
        if record.is_file():
            os.utime(record)
            return
        record.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(record, json.dumps(facts, indent=1).encode())
    except OSError as error:
        raise not_written(record, error) from None


def _latest(root: Path, key: str) -> Path | None:
    """The record of what a URL had last."""
    found = list((root / RECORDS).glob(f"{key}-*.json"))
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
