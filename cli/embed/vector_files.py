"""Vectors in a file: JSON Lines, NumPy with the names beside it, or Parquet."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
import numpy.typing as npt

from pinnace.models.answer import Embedding
from pinnace.models.errors import MissingDependency, UsageError

DTYPES = ("float32", "float16")

# So many vectors are one row group of a Parquet file.
_GROUP = 4096


class VectorFile(Protocol):
    """A file that vectors are added to, in order."""

    def add(self, image: str, embedding: Embedding) -> None:
        """Add the vector of an image."""

    def finish(self) -> None:
        """Write what is left, and move the file into place."""

    def discard(self) -> None:
        """Leave nothing behind."""


class JsonLinesVectors:
    """One JSON object a line: `image`, `model`, `embedding`. A file, or standard output."""

    suffix = ".jsonl"

    def __init__(self, path: Path | None, stream: TextIO, dtype: str) -> None:
        self._path, self._dtype = path, dtype
        self._temporary = None if path is None else _temporary(path)
        self._stream = stream if self._temporary is None else self._temporary.open("w", encoding="utf-8")

    def add(self, image: str, embedding: Embedding) -> None:
        """Add the vector of an image."""
        vector = np.asarray(embedding.embedding, self._dtype)
        # The shortest text that gives the same number back.
        numbers = ", ".join(map(str, vector))
        head = json.dumps({"image": image, "model": embedding.model}, ensure_ascii=False)
        self._stream.write(f'{head[:-1]}, "embedding": [{numbers}]}}\n')
        self._stream.flush()

    def finish(self) -> None:
        """Move the file into place."""
        if self._temporary is not None and self._path is not None:
            self._stream.close()
            self._temporary.replace(self._path)

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._temporary is not None:
            self._stream.close()
            self._temporary.unlink(missing_ok=True)


class NumpyVectors:
    """An array of shape (images, values), and beside it `NAME.names.txt` with one image a line."""

    suffix = ".npy"

    def __init__(self, path: Path, dtype: str) -> None:
        self._path, self._dtype = path, dtype
        self._rows: list[npt.NDArray[Any]] = []
        self._names: list[str] = []

    def add(self, image: str, embedding: Embedding) -> None:
        """Add the vector of an image."""
        if "\n" in image or "\r" in image:
            raise UsageError(f"{image!r} has a line break, and a name is one line", hint="write .jsonl")
        self._rows.append(np.asarray(embedding.embedding, self._dtype))
        self._names.append(image)

    def finish(self) -> None:
        """Write both files, and move them into place."""
        vectors, names = _temporary(self._path), _temporary(names_of(self._path))
        with vectors.open("wb") as file:
            np.save(file, np.stack(self._rows))
        names.write_text("".join(f"{name}\n" for name in self._names), "utf-8", "surrogateescape")
        names.replace(names_of(self._path))
        vectors.replace(self._path)

    def discard(self) -> None:
        """Leave nothing behind; nothing is written before the end."""


class ParquetVectors:
    """A table with the columns `image` and `embedding`; its metadata has the model and its version."""

    suffix = ".parquet"

    def __init__(self, path: Path, dtype: str) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ModuleNotFoundError:
            raise MissingDependency(
                "writing Parquet needs pyarrow, which is not installed",
                hint="pip install 'pinnace[parquet]', or write .npy or .jsonl",
            ) from None
        self._arrow, self._parquet = pyarrow, pyarrow.parquet
        self._path, self._dtype = path, dtype
        self._temporary = _temporary(path)
        self._writer: Any = None
        self._rows: list[npt.NDArray[Any]] = []
        self._names: list[str] = []

    def add(self, image: str, embedding: Embedding) -> None:
        """Add the vector of an image."""
        vector = np.asarray(embedding.embedding, self._dtype)
        if self._writer is None:
            number = self._arrow.from_numpy_dtype(vector.dtype)
            facts = {
                "model": embedding.model,
                "version": embedding.version,
                "variant": embedding.variant,
                "normalised": str(embedding.normalised).lower(),
            }
            schema = self._arrow.schema(
                [("image", self._arrow.string()), ("embedding", self._arrow.list_(number, len(vector)))],
                metadata=facts,
            )
            self._writer = self._parquet.ParquetWriter(str(self._temporary), schema)
        self._rows.append(vector)
        self._names.append(os.fsencode(image).decode("utf-8", "replace"))
        if len(self._rows) == _GROUP:
            self._write()

    def _write(self) -> None:
        schema = self._writer.schema
        flat = self._arrow.array(np.concatenate(self._rows))
        vectors = self._arrow.FixedSizeListArray.from_arrays(flat, len(self._rows[0]))
        table = self._arrow.table([self._arrow.array(self._names), vectors], schema=schema)
        self._writer.write_table(table)
        self._rows, self._names = [], []

    def finish(self) -> None:
        """Write what is left, and move the file into place."""
        if self._rows:
            self._write()
        self._writer.close()
        self._temporary.replace(self._path)

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._writer is not None:
            self._writer.close()
        self._temporary.unlink(missing_ok=True)


def names_of(path: Path) -> Path:
    """Where the names of an array's rows stand."""
    return path.with_name(f"{path.stem}.names.txt")


@contextmanager
def open_vectors(path: Path | None, stream: TextIO, dtype: str) -> Iterator[VectorFile]:
    """The file that a name stands for; None for JSON Lines on `stream`.

    What has been added is kept where the work is interrupted or fails; a file of nothing is not written.

    Raises:
        UsageError: the name ends in none of the suffixes, or its folder is missing.
        MissingDependency: it is Parquet, and pyarrow is not installed.
    """
    suffixes = (".parquet", ".npy", ".jsonl")
    if path is not None and path.suffix.lower() not in suffixes:
        raise UsageError(
            f"the format of the vectors does not follow from the name {path}",
            expected=f"a file that ends in {', '.join(suffixes)}",
        )
    if path is not None and not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {path.absolute().parent}")
    file: VectorFile
    if path is None or path.suffix.lower() == JsonLinesVectors.suffix:
        file = JsonLinesVectors(path, stream, dtype)
    elif path.suffix.lower() == NumpyVectors.suffix:
        file = NumpyVectors(path, dtype)
    else:
        file = ParquetVectors(path, dtype)
    counted = _Counted(file)
    try:
        yield counted
    finally:
        (file.finish if counted.count else file.discard)()


class _Counted:
    """A file that knows whether it holds anything."""

    def __init__(self, file: VectorFile) -> None:
        self._file = file
        self.count = 0

    def add(self, image: str, embedding: Embedding) -> None:
        self._file.add(image, embedding)
        self.count += 1

    def finish(self) -> None:
        self._file.finish()

    def discard(self) -> None:
        self._file.discard()


def _temporary(path: Path) -> Path:
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    os.close(handle)
    Path(name).chmod(0o644)
    return Path(name)
