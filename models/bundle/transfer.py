"""Bundles that are elsewhere: pulled file by file, each checked by its hash, and moved into place at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from pinnace.models import file_stores
from pinnace.models.bundle import manifest, signing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import BundleError, CheckFailed, PinnaceError, ServerError, UsageError
from pinnace.models.files import new_folder, require_free, sha256, size_text
from pinnace.models.progress import Event, Progress, Stage, ignore
from pinnace.models.web_files import CutError, opened, without_secrets

_WEB = ("http", "https")
_ATTEMPTS = 4
_PAUSE = 0.5

# Of what the manifest has no size: labels, golden data, photographs.
_MOST_BYTES = 4 << 30


def pull(url: str, out: Path, progress: Progress = ignore) -> Bundle:
    """Fetch a bundle into a folder.

    What came stays beside the folder, so that a pull that was cut goes on where it ended; a second process
    that pulls into the same folder waits for the first. Only files that the manifest lists are asked for.

    Args:
        url: the bundle's folder: `https://`, or a store that `pinnace.models.file_stores` knows.
        out: the folder to make; a bundle that stands there is replaced at the end.
        progress: told of each file.

    Raises:
        UsageError: the URL is none of a folder, or `out` is no place for a bundle.
        BundleError: there is no bundle, or its manifest names files outside of its folder.
        CheckFailed: a file is not what the manifest says, or the trusted key has not signed the bundle.
        ServerError: the store refuses, redirects to another host, or breaks off again and again.
        MissingDependency: a package is missing.
    """
    _require_folder(url)
    out = out.absolute()
    shown = without_secrets(url)
    partial = out.parent / f".{out.name}.pull-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    require_free(out, marker=manifest.FILE_NAME)
    with _alone_in(partial):
        bundle = _described(url, partial)
        if not _is_there(bundle, out):
            _fetch_all(url, bundle, progress)
            names = [manifest.FILE_NAME, signing.FILE_NAME, *_hashes(bundle)]
            with new_folder(out, marker=manifest.FILE_NAME) as folder:
                for name in (name for name in names if (partial / name).is_file()):
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (partial / name).rename(folder / name)
                with _called(shown, folder):
                    Bundle.open(folder)  # its signature, where one is asked for
        shutil.rmtree(partial)
    return Bundle.open(out)


def _hashes(bundle: Bundle) -> dict[str, str]:
    return {variant.file: variant.sha256 for variant in bundle.manifest.variants} | bundle.manifest.files


def _is_there(bundle: Bundle, out: Path) -> bool:
    """Whether a folder holds the very bundle, whole."""
    try:
        there = Bundle.open(out)
        there.check_files()
    except PinnaceError:
        return False
    return manifest.read_bytes(out) == manifest.read_bytes(bundle.folder)


def _fetch_all(url: str, bundle: Bundle, progress: Progress) -> None:
    """Fetch every file that a manifest lists, and the signature, beside the manifest."""
    hashes, folder = _hashes(bundle), bundle.folder
    sizes = {variant.file: variant.bytes for variant in bundle.manifest.variants}
    _require_room(folder, without_secrets(url), sum(sizes.values()))
    for done, (name, digest) in enumerate(hashes.items()):
        progress(Event(Stage.PULL, done=done, total=len(hashes), detail=name))
        _fetch_checked(url, name, folder / name, digest, sizes.get(name, _MOST_BYTES))
    with contextlib.suppress(FileNotFoundError):
        _fetch_anew(url, folder / signing.FILE_NAME)


@contextlib.contextmanager
def _called(shown: str, folder: Path) -> Iterator[None]:
    """Let errors name the URL, and not the folder that its files are in for now."""
    try:
        yield
    except PinnaceError as error:
        error.message = error.message.replace(str(folder / manifest.FILE_NAME), shown)
        error.message = error.message.replace(str(folder), shown)
        error.hint = None
        raise


def push(bundle: Bundle, url: str, progress: Progress = ignore) -> None:
    """Copy a bundle into a folder of a store: what its manifest lists, the signature, and the manifest last.

    Raises:
        UsageError: the store takes no files, or cannot be reached.
        CheckFailed: a file of the bundle has changed.
        MissingDependency: a package is missing.
    """
    _require_folder(url)
    if urlsplit(url).scheme in _WEB:
        raise UsageError(
            f"{without_secrets(url)} takes no files", expected="a store such as s3://bucket/folder"
        )
    bundle.check_files()
    names = [variant.file for variant in bundle.manifest.variants]
    names += [name for name in bundle.manifest.files if name not in names]
    names += [name for name in (signing.FILE_NAME,) if (bundle.folder / name).is_file()]
    names.append(manifest.FILE_NAME)
    for done, name in enumerate(names):
        progress(Event(Stage.PUSH, done=done, total=len(names), detail=name))
        try:
            file_stores.copy_in(bundle.folder / name, url, name)
        except OSError as error:
            raise file_stores.not_reached(without_secrets(url), error) from None


def _require_folder(url: str) -> None:
    if not file_stores.is_uri(url):
        raise UsageError(
            f"{without_secrets(url)} is no URL",
            expected="https://HOST/FOLDER, s3://BUCKET/FOLDER or another store's",
        )


def _described(url: str, partial: Path) -> Bundle:
    """The bundle that the manifest at a URL describes, of which no other file is there."""
    shown = without_secrets(url)
    try:
        _fetch_anew(url, partial / manifest.FILE_NAME)
    except FileNotFoundError:
        raise BundleError(f"{shown} is not a bundle: it has no {manifest.FILE_NAME}") from None
    with _called(shown, partial):
        return Bundle.open(partial, check_signature=False)


def _fetch_anew(url: str, place: Path) -> None:
    """Fetch a file of which no hash is known: what is left of an older one says nothing."""
    for path in (place, _part(place)):
        path.unlink(missing_ok=True)
    _fetch(url, place.name, place, manifest.MOST_BYTES)


def _fetch_checked(url: str, name: str, place: Path, digest: str, most: int) -> None:
    """Fetch a file of which the hash is known; what is there and right is not fetched again."""
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
        ServerError: it breaks off again and again, or the store refuses.
    """
    part = _part(place)
    for attempt in range(_ATTEMPTS):
        start = part.stat().st_size if part.is_file() else 0
        try:
            with _writable(part) as file, _source(url, name, start) as (begins, pieces):
                file.seek(begins)
                file.truncate()
                for piece in pieces:
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
            if attempt == _ATTEMPTS - 1:
                raise ServerError(
                    f"{name} at {without_secrets(url)} was cut {_ATTEMPTS} times ({error})",
                    hint="run the same command again: it goes on from what is there",
                ) from None
            time.sleep(_PAUSE * attempt)


@contextlib.contextmanager
def _source(url: str, name: str, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    if urlsplit(url).scheme in _WEB:
        with opened(url, name, start) as found:
            yield found
        return
    try:
        yield start, file_stores.pieces(url, name, start)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise file_stores.not_reached(f"{without_secrets(url).rstrip('/')}/{name}", error) from None


def _writable(path: Path) -> IO[bytes]:
    """A file whose bytes stay, opened for writing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path.open("r+b", buffering=0)
    except OSError as error:
        raise _not_written(path, error) from None


def _write(file: IO[bytes], piece: bytes, path: Path) -> None:
    left = memoryview(piece)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise _not_written(path, error) from None


def _not_written(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{path.parent} cannot be written: {error.strerror or error}",
        hint="what came is kept there, and the same command goes on from it",
    )


def _part(place: Path) -> Path:
    return place.with_name(f"{place.name}.part")


def _require_room(folder: Path, shown: str, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UsageError(
            f"{shown} has {size_text(needed)}, and {folder.parent} has {size_text(free)} left",
            hint="choose another output path",
        )


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Make a folder and hold its lock; another process waits."""
    import fcntl

    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # removed in between
            continue
        except OSError as error:
            raise _not_written(folder, error) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # The process that held it may have removed the folder that this one has opened.
            if folder.is_dir() and os.path.samestat(os.fstat(handle), folder.stat()):
                yield
                return
        finally:
            os.close(handle)
