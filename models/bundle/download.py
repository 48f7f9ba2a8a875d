"""Single files of a bundle that is elsewhere: continued where they were cut, and checked by their hash."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from pinnace.models import file_stores, hub_files
from pinnace.models.bundle import manifest
from pinnace.models.errors import BundleError, CheckFailed, ServerError, UsageError
from pinnace.models.files import sha256, size_text
from pinnace.models.urls import without_secrets
from pinnace.models.web_files import CutError, opened

WEB = ("http", "https")

# A server that sends less than this, over so many seconds, is taken to have fallen silent.
_FEWEST_BYTES_PER_SECOND = 1024
_SECONDS_TO_JUDGE = 60.0

_ATTEMPTS = 4
_PAUSE = 0.5


class UnreachableError(ServerError):
    """Nothing answers at a URL, or what answers breaks off: a copy from before may do instead."""


def fetch_anew(url: str, place: Path) -> None:
    """Fetch a file of which no hash is known: what is left of an older one says nothing.

    Raises:
        As `_fetch`.
    """
    for path in (place, _part(place)):
        path.unlink(missing_ok=True)
    _fetch(url, place.name, place, manifest.MOST_BYTES)


def fetch_checked(url: str, name: str, place: Path, digest: str, most: int) -> None:
    """Fetch a file of which the hash is known; what is there and right is not fetched again.

    Args:
        url: the folder.
        name: the file below it.
        place: where it goes.
        digest: its SHA-256.
        most: the most bytes that it may have.

    Raises:
        BundleError: it is not there.
        CheckFailed: it is another file, or larger.
        Others: as `_fetch`.
    """
    if place.is_file() and sha256(place) == digest:
        return
    place.unlink(missing_ok=True)
    part = _part(place)
    for continued in (part.is_file(), False):
        try:
            _fetch(url, name, place, most)
        except FileNotFoundError:
            raise BundleError(f"{without_secrets(url)} lacks {name}, which its manifest lists") from None
        got = sha256(place)
        if got == digest:
            return
        place.unlink()
        if not continued:  # what was continued may have begun as another file
            raise CheckFailed(
                f"{name} at {without_secrets(url)} is not what the manifest says",
                expected=f"sha256 {digest}",
                got=f"sha256 {got}",
            )


def _fetch(url: str, name: str, place: Path, most: int) -> None:
    """Fetch a file, going on where it was cut.

    Raises:
        FileNotFoundError: it is not there.
        CheckFailed: it has more than `most` bytes.
        UnreachableError: nothing answers, or it breaks off again and again.
        ServerError: the server refuses.
        UsageError: the store refuses, or the file cannot be written.
    """
    part = _part(place)
    before = part.stat().st_size if part.is_file() else 0
    for attempt in range(_ATTEMPTS):
        start = part.stat().st_size if part.is_file() else 0
        try:
            with _writable(part) as file, _source(url, name, start) as (begins, pieces):
                file.seek(begins)
                file.truncate()
                pace = _Pace()
                for piece in pieces:
                    pace.count(len(piece))
                    if file.tell() + len(piece) > most:
                        file.truncate(0)
                        raise CheckFailed(
                            f"{name} at {without_secrets(url)} has more bytes than the manifest says",
                            expected=size_text(most),
                        )
                    _write(file, piece, part)
            part.rename(place)
            return
        except CutError as error:
            if attempt > 0 and part.stat().st_size == before:
                raise UnreachableError(f"{without_secrets(url)} cannot be reached ({error})") from None
            if attempt == _ATTEMPTS - 1:
                raise UnreachableError(
                    f"{name} at {without_secrets(url)} was cut {_ATTEMPTS} times ({error})",
                    hint="run the same command again: it goes on from what is there",
                ) from None
            time.sleep(_PAUSE * attempt)


class _Pace:
    """Breaks off what comes so slowly that it would never end."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._bytes = 0

    def count(self, count: int) -> None:
        """So many bytes have come.

        Raises:
            CutError: too few have, in all of the time.
        """
        self._bytes += count
        seconds = time.monotonic() - self._since
        if seconds >= _SECONDS_TO_JUDGE:
            if self._bytes < _FEWEST_BYTES_PER_SECOND * seconds:
                raise CutError(f"{self._bytes / seconds:.0f} bytes a second")
            self._since, self._bytes = time.monotonic(), 0


@contextlib.contextmanager
def _source(url: str, name: str, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    scheme = urlsplit(url).scheme
    if scheme in WEB:
        with opened(url, name, start) as found:
            yield found
        return
    kind = hub_files if scheme == hub_files.SCHEME else file_stores
    try:
        yield start, kind.pieces(url, name, start)
    except FileNotFoundError:
        raise
    except file_stores.StoreUnreachable as error:
        raise UnreachableError(error.message) from None
    except OSError as error:
        refused = file_stores.not_reached(f"{without_secrets(url).rstrip('/')}/{name}", error)
        if isinstance(refused, file_stores.StoreUnreachable):
            raise CutError(file_stores.said(error)) from None
        raise refused from None


def _writable(path: Path) -> IO[bytes]:
    """A file whose bytes stay, opened for writing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path.open("r+b", buffering=0)
    except OSError as error:
        raise not_written(path, error) from None


def _write(file: IO[bytes], piece: bytes, path: Path) -> None:
    left = memoryview(piece)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise not_written(path, error) from None


def not_written(path: Path, error: OSError) -> UsageError:
    """A file on this machine that cannot be written."""
    return UsageError(
        f"{path.parent} cannot be written: {error.strerror or error}",
        hint="what came is kept there, and the same command goes on from it",
    )


def _part(place: Path) -> Path:
    return place.with_name(f"{place.name}.part")
