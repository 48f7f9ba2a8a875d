"""An array of vectors that grows by a row at a time, with the names of the rows beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path

import numpy as np

from pinnace.cli.classify.row_file import already_there, lock, not_written
from pinnace.cli.classify.row_formats import Finished
from pinnace.cli.classify.write_rows import Each
from pinnace.models.answer import Embedding
from pinnace.models.errors import PinnaceError, UsageError
from pinnace.models.files import write_atomic

# The header of version 1.0 of the format, filled up with spaces, so that the number of rows can change in it.
_HEADER = 128
_MAGIC = b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little")


def names_of(path: Path) -> Path:
    """Where the names of an array's rows stand, one a line."""
    return path.with_name(f"{path.stem}.names.txt")


def maker_of(path: Path) -> Path:
    """Where it stands which model made an array."""
    return path.with_name(f"{path.stem}.model.json")


@dataclass(frozen=True)
class Maker:
    """What made vectors, and what they are.

    Attributes:
        model: the model's name.
        version: of its bundle.
        variant: which variant of that.
        normalised: whether their norm is 1.
    """

    model: str
    version: str
    variant: str
    normalised: bool

    @classmethod
    def of(cls, embedding: Embedding) -> Maker:
        """What made this one."""
        return cls(embedding.model, embedding.version, embedding.variant, embedding.normalised)


@dataclass(frozen=True)
class NumpyRows:
    """Vectors in a `.npy` file; see `pinnace.cli.classify.write_rows.Rows`."""

    output: Path
    dtype: str
    resume: bool

    def check_name(self, image: str) -> None:
        """Refuse a name with a line break, which would make two lines of one."""
        if "\n" in image or "\r" in image:
            raise UsageError(f"{image!r} has a line break, and a name is one line", hint="write .jsonl")

    @contextmanager
    def open(self, each: Each) -> Iterator[GrowingArray]:
        """Begin the files, or continue them."""
        array = GrowingArray(self.output, self.dtype, resume=self.resume)
        try:
            array.report(each)
            yield array
        finally:
            array.close()


class GrowingArray:
    """An array of shape (images, values) in a `.npy` file that is whole after each row.

    Beside it are `NAME.names.txt`, with one image a line, and `NAME.model.json`, which says what made it.
    They are not written under temporary names: what an interrupted run leaves is what the next one needs.
    """

    def __init__(self, path: Path, dtype: str, *, resume: bool) -> None:
        """Open the files; begin them, or find their end.

        Args:
            path: the array.
            dtype: `float32` or `float16`.
            resume: continue what is there; a row that was cut off is removed.

        Raises:
            UsageError: they cannot be written, are not empty and `resume` is not set, are being written by
                another process, or hold something else.
        """
        self.path = path
        self.maker: Maker | None = None
        self.names: list[str] = []
        self._dtype = np.dtype(dtype)
        self._values = self._count = 0
        with ExitStack() as stack:
            self._vectors, self._names = (stack.enter_context(_open(file)) for file in (path, names_of(path)))
            lock(self._vectors, path)
            if path.stat().st_size:
                if not resume:
                    raise already_there(path)
                self._read()
            stack.pop_all()

    def report(self, each: Each) -> None:
        """Call `each` for every row that was there when the files were opened."""
        made_by = None if self.maker is None else (self.maker.model, self.maker.variant)
        for name in self.names:
            each(Finished(name, (), made_by))

    def write(self, image: str, outcome: Embedding | PinnaceError) -> None:
        """Append a vector; an image that cannot be read has none.

        Raises:
            UsageError: the disk is full, or the vector has another length than those before it.
        """
        if isinstance(outcome, PinnaceError):
            return
        vector = np.asarray(outcome.embedding, self._dtype)
        try:
            if self.maker is None:
                self.maker, self._values = Maker.of(outcome), len(vector)
                write_atomic(maker_of(self.path), (json.dumps(asdict(self.maker), indent=2) + "\n").encode())
                _write(self._vectors, self._header(), 0)
            if len(vector) != self._values:
                raise UsageError(
                    f"the vector of {image} has another length than those in {self.path}",
                    expected=str(self._values),
                    got=str(len(vector)),
                    hint="choose another file",
                )
            _write(self._vectors, vector.tobytes(), _HEADER + self._count * vector.nbytes)
            _write(self._names, f"{image}\n".encode("utf-8", "surrogateescape"), self._names.tell())
            self._count += 1
            _write(self._vectors, self._header(), 0)
        except OSError as error:
            raise not_written(self.path, error) from None

    def close(self) -> None:
        """Close the files; what holds nothing is not left behind."""
        self._vectors.close()
        self._names.close()
        if not self._count:
            for file in (self.path, names_of(self.path), maker_of(self.path)):
                file.unlink(missing_ok=True)

    def _header(self) -> bytes:
        shape = (self._count, self._values)
        text = f"{{'descr': {self._dtype.str!r}, 'fortran_order': False, 'shape': {shape}, }}"
        return _MAGIC + text.encode().ljust(_HEADER - len(_MAGIC) - 1) + b"\n"

    def _read(self) -> None:
        """See what is there, and cut off what is not whole."""
        try:
            with self.path.open("rb") as file:
                np.lib.format.read_magic(file)
                # Of how many rows the header speaks is not looked at: the file may be cut off.
                (_, self._values), turned, found = np.lib.format.read_array_header_1_0(file)
                if turned or file.tell() != _HEADER:
                    raise ValueError
            self.maker = Maker(**json.loads(maker_of(self.path).read_bytes()))
        except (OSError, ValueError, TypeError, EOFError):
            raise UsageError(
                f"{self.path} cannot be continued: it and {maker_of(self.path).name} beside it are not as "
                "pinnace embed writes them, so they were not changed",
                hint="choose another file",
            ) from None
        if found != self._dtype:
            raise UsageError(
                f"{self.path} has numbers of another type",
                expected=found.name,
                got=self._dtype.name,
                hint=f"give --dtype {found.name}, or choose another file",
            )
        whole = (self.path.stat().st_size - _HEADER) // (self._values * self._dtype.itemsize)
        lines = names_of(self.path).read_bytes().splitlines(keepends=True)
        lines = [line for line in lines if line.endswith(b"\n")][:whole]
        self._count = len(lines)
        self.names = [line[:-1].decode("utf-8", "surrogateescape") for line in lines]
        self._vectors.truncate(_HEADER + self._count * self._values * self._dtype.itemsize)
        end = sum(map(len, lines))
        self._names.truncate(end)
        self._names.seek(end)
        _write(self._vectors, self._header(), 0)


def _open(path: Path) -> FileIO:
    try:
        return FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+")
    except OSError as error:
        raise not_written(path, error) from None


def _write(file: FileIO, data: bytes, place: int) -> None:
    """Write all of it at a place."""
    file.seek(place)
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
