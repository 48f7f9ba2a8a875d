"""Bundles that are elsewhere: pulled file by file, each checked by its hash, and moved into place at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from pinnace.models import file_stores, hub_files
from pinnace.models.bundle import manifest, signing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.download import WEB, UnreachableError, fetch_anew, fetch_checked, not_written
from pinnace.models.errors import BundleError, PinnaceError, UsageError
from pinnace.models.files import new_folder, require_free, size_text
from pinnace.models.progress import Event, Progress, Stage, ignore
from pinnace.models.urls import is_uri, without_secrets
from pinnace.models.web_files import CutError

# Of what the manifest has no size: labels, golden data, photographs.
_MOST_BYTES = 4 << 30


@dataclass(frozen=True)
class Described:
    """What the manifest at a URL describes, before any of its files is here.

    Attributes:
        url: where its files are; of a repository with revisions, those of one commit.
        bundle: its manifest, in a folder to which its files will come.
        identity: the SHA-256 of the manifest and the signature: another identity is another bundle.
    """

    url: str
    bundle: Bundle
    identity: str


def pull(url: str, out: Path, progress: Progress = ignore) -> Bundle:
    """Fetch a bundle into a folder.

    What came stays beside the folder, so that a pull that was cut goes on where it ended; a second process
    that pulls into the same folder waits for the first. Only files that the manifest lists are asked for.

    Args:
        url: the bundle's folder: `https://`, `hf://`, or a store that `pinnace.models.file_stores` knows.
        out: the folder to make; a bundle that stands there is replaced at the end.
        progress: told of each file.

    Raises:
        UsageError: the URL is none of a folder, or `out` is no place for a bundle.
        BundleError: there is no bundle, or its manifest names files outside of its folder.
        CheckFailed: a file is not what the manifest says, or the trusted key has not signed the bundle.
        ServerError: the store does not answer, refuses, redirects to another host, or breaks off again and
            again.
        MissingDependency: a package is missing.
    """
    require_folder(url)
    out = out.absolute()
    partial = out.parent / f".{out.name}.pull-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    require_free(out, marker=manifest.FILE_NAME)
    with alone_in(partial):
        found = describe(url, partial)
        if not _is_there(found.bundle, out):
            fetch_all(found, progress)
            assemble(found, out)
        shutil.rmtree(partial)
    return Bundle.open(out)


def describe(url: str, partial: Path) -> Described:
    """Fetch the manifest and the signature, and no other file, into a folder.

    Raises:
        As `pull`.
    """
    require_folder(url)
    shown = without_secrets(url)
    try:
        if urlsplit(url).scheme == hub_files.SCHEME:
            url = hub_files.pinned(url)
        fetch_anew(url, partial / manifest.FILE_NAME)
    except FileNotFoundError as error:
        reason = f"it has no {manifest.FILE_NAME}"
        if url.startswith(f"{hub_files.SCHEME}://") and "not found" in str(error):
            reason = str(error).partition("(")[2].partition(")")[0]
        raise BundleError(f"{shown} is not a bundle: {reason}") from None
    except CutError as error:
        raise UnreachableError(f"{shown} cannot be reached ({error})") from None
    with called(shown, partial):
        bundle = Bundle.open(partial, check_signature=False)
        _check_names(bundle)
    with contextlib.suppress(FileNotFoundError):
        fetch_anew(url, partial / signing.FILE_NAME)
    return Described(url, bundle, identity(partial))


def identity(folder: Path) -> str:
    """The SHA-256 of a bundle's manifest and signature, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in (manifest.FILE_NAME, signing.FILE_NAME):
        file = folder / name
        digest.update(hashlib.sha256(file.read_bytes() if file.is_file() else b"").digest())
    return digest.hexdigest()


def fetch_all(found: Described, progress: Progress = ignore) -> None:
    """Fetch every file that a manifest lists, beside it.

    Raises:
        As `pull`.
    """
    bundle = found.bundle
    hashes, folder = file_hashes(bundle), bundle.folder
    sizes = {variant.file: variant.bytes for variant in bundle.manifest.variants}
    here = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    _require_room(folder, without_secrets(found.url), sum(sizes.values()) - here)
    for done, (name, digest) in enumerate(hashes.items()):
        progress(Event(Stage.PULL, done=done, total=len(hashes), detail=name))
        fetch_checked(found.url, name, folder / name, digest, sizes.get(name, _MOST_BYTES))


def assemble(found: Described, out: Path) -> None:
    """Move a bundle of which all files have come into its place, and no other file.

    Raises:
        CheckFailed: the trusted key has not signed it.
        UsageError: `out` is no place for a bundle.
    """
    partial = found.bundle.folder
    names = [manifest.FILE_NAME, signing.FILE_NAME, *file_hashes(found.bundle)]
    with new_folder(out, marker=manifest.FILE_NAME) as folder:
        for name in (name for name in names if (partial / name).is_file()):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).rename(folder / name)
        with called(without_secrets(found.url), folder):
            Bundle.open(folder)  # its signature, where one is asked for


def file_hashes(bundle: Bundle) -> dict[str, str]:
    """The hash of every file of a bundle, by name."""
    return {variant.file: variant.sha256 for variant in bundle.manifest.variants} | bundle.manifest.files


def _check_names(bundle: Bundle) -> None:
    """Of names that `Bundle.open` has found to be inside the folder, refuse those that hide another file."""
    names = set(file_hashes(bundle))
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    for name in sorted(names):
        own = name in (manifest.FILE_NAME, signing.FILE_NAME) or name.endswith(".part") or name in folders
        plain = PurePosixPath(name).as_posix() == name and name.isprintable() and "\\" not in name
        if own or not plain:
            raise BundleError(f"{bundle.folder} names a file that no bundle has: {name!r}")


def _is_there(bundle: Bundle, out: Path) -> bool:
    """Whether a folder holds the very bundle, whole."""
    try:
        there = Bundle.open(out)
        there.check_files()
    except PinnaceError:
        return False
    return manifest.read_bytes(out) == manifest.read_bytes(bundle.folder)


@contextlib.contextmanager
def called(shown: str, folder: Path) -> Iterator[None]:
    """Let errors name the URL, and not the folder that its files are in."""
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
    require_folder(url)
    scheme = urlsplit(url).scheme
    if scheme in WEB or scheme == hub_files.SCHEME:
        hint = f"hf upload OWNER/NAME {bundle.folder} ." if scheme == hub_files.SCHEME else None
        raise UsageError(
            f"{without_secrets(url)} takes no files from here",
            expected="a store such as s3://bucket/folder",
            hint=hint,
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
        except ValueError as error:  # as pyarrow says that there is no such bucket
            raise file_stores.not_written(url, OSError(str(error))) from None
        except OSError as error:
            raise file_stores.not_reached(url, error) from None


def require_folder(url: str) -> None:
    """Require that a name is a URL.

    Raises:
        UsageError: it is not.
    """
    if not is_uri(url):
        raise UsageError(
            f"{without_secrets(url)} is not a URL",
            expected="https://HOST/FOLDER, s3://BUCKET/FOLDER, hf://OWNER/NAME or another store's",
        )


def _require_room(folder: Path, shown: str, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UsageError(
            f"{shown} has {size_text(needed)}, and {folder.parent} has {size_text(free)} left",
            hint="make room there, or choose another place with -o or PINNACE_CACHE",
        )


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make a folder and hold its lock; another process waits.

    Raises:
        UsageError: it cannot be written.
    """
    import fcntl

    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # removed in between
            continue
        except OSError as error:
            raise not_written(folder, error) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # The process that held it may have removed the folder that this one has opened.
            if folder.is_dir() and os.path.samestat(os.fstat(handle), folder.stat()):
                yield
                return
        finally:
            os.close(handle)
