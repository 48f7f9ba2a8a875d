"""Files that are written whole or not at all, and their hashes."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from pinnace.models.errors import UsageError


def sha256(path: Path) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a file; a pipe may say nothing for ever, and a device never end.

    Args:
        path: where it stands.
        most: how many bytes are read.

    Raises:
        OSError: it cannot be read, is not a regular file, or has more than `most` bytes.
    """
    with open(path, "rb", opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a file but a pipe, device or socket", str(path))
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
        return file.read(most)


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder and below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def size_text(count: int) -> str:
    """A number of bytes as people read it: `18.5 MB`, `912.0 kB`."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def parse_bytes(text: str, option: str) -> int:
    """A number of bytes as people write it: `500M`, `10G`, `1.5GB`; without a unit, bytes.

    Args:
        text: what was written.
        option: whose value it is, for the message.

    Raises:
        UsageError: it is something else, or nothing at all.
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        size = int(TypeAdapter(ByteSize).validate_python(text.strip()))
    except (ValidationError, OverflowError):
        size = 0
    if size <= 0:
        raise UsageError(f"{option} cannot be read as a size", expected="such as 500M or 10G", got=text)
    return size


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file under a temporary name beside its place, then move it there."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def require_free(path: Path, *, marker: str) -> None:
    """Require that `new_folder` may make a folder: nothing is there, or an empty folder, or one of its kind.

    Raises:
        UsageError: something else is there.
    """
    if path.exists() and not (path / marker).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(
            f"{path} already exists and was not written by this command, so it was not replaced",
            hint="choose another output path",
        )


@contextmanager
def new_folder(path: Path, *, marker: str) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends well, and vanishes when it does not.

    A folder at `path` that holds the file `marker` is replaced, and only at the end; anything else
    that stands there is left alone.

    Raises:
        UsageError: `path` exists and is no folder with `marker` in it, or nothing can be written there.
    """
    try:
        require_free(path, marker=marker)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.filename}: {error.strerror}", hint="choose another output path"
        ) from None
    try:
        temporary.chmod(0o755)
        yield temporary
        _move_into_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_into_place(new: Path, path: Path) -> None:
    if not path.exists():
        new.rename(path)
        return
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    old = path.rename(aside / path.name)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def similar_path(path: Path) -> Path | None:
    """The path beside this one, which is not there, that is spelt most like it; None where none is."""
    try:
        names = [each.name for each in path.absolute().parent.iterdir()]
    except (OSError, ValueError):
        return None
    found = get_close_matches(path.name, names, n=1, cutoff=0.75)
    return path.with_name(found[0]) if found else None
