"""Models that others packed: folders, zip and tar archives, of which only what is asked for is unpacked."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from pinnace.models.errors import SourceError
from pinnace.models.files import size_text

# Weights hardly shrink, and text to a tenth; a file of zeros shrinks to a thousandth.
_MOST_TIMES = 200
_ALWAYS_ALLOWED = 64 << 20
_TAR_BLOCK = 512
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError),
    *(NotImplementedError, UnicodeDecodeError, RuntimeError, ValueError),
)


@dataclass(frozen=True)
class Packed:
    """A folder or an archive of files.

    Attributes:
        path: the folder or archive.
        sizes: bytes of its files, by their names below `root`.
        root: what stands before these names in the archive; empty, or with a slash at its end.
    """

    path: Path
    sizes: dict[str, int]
    root: str = ""

    def below(self, marker: str) -> Packed | None:
        """The same, with the names below the folder that holds the file `marker`; None where none does."""
        found = [name for name in self.sizes if name == marker or name.endswith(f"/{marker}")]
        if not found:
            return None
        root = min(found, key=len).removesuffix(marker)
        sizes = {name.removeprefix(root): size for name, size in self.sizes.items() if name.startswith(root)}
        return Packed(self.path, sizes, self.root + root)

    def read(self, name: str, most: int) -> bytes:
        """What a file holds.

        Raises:
            SourceError: it is not there, is damaged, or has more than `most` bytes.
        """
        if self._size(name) > most:
            raise SourceError(f"{self.path}: {name} has more than {size_text(most)}")
        with _readable(self.path), self._opened(name) as file:
            return file.read(most)

    def unpack(self, names: list[str], into: Path) -> Path:
        """Write files into a folder, and return the folder; what is a folder already is left where it is.

        Raises:
            SourceError: one is not there or is damaged, or there is no room for them.
        """
        needed = sum(map(self._size, names))
        if self.path.is_dir():
            return self.path / self.root
        if needed > (free := shutil.disk_usage(into).free):
            raise SourceError(
                f"{self.path} cannot be unpacked: that takes {size_text(needed)}, and {into} has "
                f"{size_text(free)} left",
                hint="set TMPDIR to a folder with more room",
            )
        for name in names:
            place = into / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with _readable(self.path), self._opened(name) as file, place.open("wb") as out:
                shutil.copyfileobj(file, out)
        return into

    def _size(self, name: str) -> int:
        if name not in self.sizes:
            raise SourceError(
                f"{self.path} has no file {name!r}", expected=", ".join(sorted(self.sizes)[:5]) or None
            )
        return self.sizes[name]

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        full = self.root + name
        if self.path.is_dir():
            with (self.path / full).open("rb") as file:
                yield file
        elif zipfile.is_zipfile(self.path):
            with zipfile.ZipFile(self.path) as archive, archive.open(full) as file:
                yield file
        else:
            with tarfile.open(self.path) as tar:
                member = tar.extractfile(next(m for m in tar if _plain(m.name) == full))
                assert member is not None  # it is no folder and no link
                yield member


def look_into(path: Path) -> Packed:
    """The files of a folder or an archive, of which nothing is unpacked.

    Raises:
        SourceError: it is neither, is damaged, or is hostile: it has names that leave its folder, links, or
            sizes that no file shrinks to so little.
    """
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.is_file())
        return Packed(path, {file.relative_to(path).as_posix(): file.stat().st_size for file in files})
    if not path.is_file():
        raise SourceError(f"there is no file {path}")
    with _readable(path):
        if zipfile.is_zipfile(path):
            return Packed(path, dict(_of_zip(path)))
        if tarfile.is_tarfile(path):
            return Packed(path, dict(_of_tar(path)))
    raise SourceError(f"{path} is neither a zip nor a tar archive, or is cut short")


def require_inside(path: Path, name: str) -> str:
    """The name of a file in an archive, which stays in the folder that it is unpacked into.

    Raises:
        SourceError: it does not.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or any(c in name for c in "\\:\0"):
        raise SourceError(f"{path} names a file that would lie outside of its folder: {name[:80]!r}")
    return name


def _of_zip(path: Path) -> Iterator[tuple[str, int]]:
    seen = set()
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = require_inside(path, info.filename)
            if info.is_dir():
                continue
            if name in seen:
                raise SourceError(f"{path} holds two files of the name {name!r}")
            if info.flag_bits & 1:
                raise SourceError(f"{path} is encrypted")
            _require_plausible(path, info.file_size, info.compress_size)
            seen.add(name)
            yield name, info.file_size


def _of_tar(path: Path) -> Iterator[tuple[str, int]]:
    there, total, seen = path.stat().st_size, 0, set()
    with tarfile.open(path) as archive:
        for member in archive:
            total += _TAR_BLOCK + member.size
            _require_plausible(path, total, there)
            name = require_inside(path, _plain(member.name) or ".")
            if member.isdir():
                continue
            if not member.isfile():
                raise SourceError(f"{path} holds a link or a device, {name!r}, and no file")
            if name in seen:
                raise SourceError(f"{path} holds two files of the name {name!r}")
            seen.add(name)
            yield name, member.size


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _require_plausible(path: Path, size: int, packed: int) -> None:
    if size > _ALWAYS_ALLOWED + _MOST_TIMES * packed:
        raise SourceError(
            f"{path} was not unpacked: {size_text(packed)} of it claim to become {size_text(size)} or more, "
            "to which no weights shrink"
        )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        line = " ".join(str(error).split()) or type(error).__name__
        raise SourceError(
            f"{path} is damaged: {line}", hint="compare its size with that of the original"
        ) from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None
