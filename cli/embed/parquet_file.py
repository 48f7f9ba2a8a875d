"""Vectors in a Parquet file, which is written when the run ends: its index stands at the end of it.

Until then they are in an array in a hidden file beside it, which a second run can continue.
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pinnace.cli.classify.row_file import already_there
from pinnace.cli.classify.row_formats import Finished
from pinnace.cli.classify.write_rows import Each
from pinnace.cli.embed.numpy_file import GrowingArray, Maker, NumpyRows, maker_of, names_of
from pinnace.models.errors import MissingDependency, UsageError
from pinnace.models.install import install_line

# So many vectors are one row group.
_GROUP = 4096


@dataclass(frozen=True)
class ParquetRows:
    """A table with the columns `image` and `embedding`; its metadata has the model and its version.

    See `pinnace.cli.classify.write_rows.Rows`.
    """

    output: Path
    dtype: str
    resume: bool

    def __post_init__(self) -> None:
        if importlib.util.find_spec("pyarrow") is None:
            raise MissingDependency(
                "writing Parquet needs pyarrow, which is not installed",
                hint=f"{install_line('parquet')}, or write .npy or .jsonl",
            )

    def check_name(self, image: str) -> None:
        """Refuse a name with a line break, as the array cannot hold it."""
        NumpyRows(self.output, self.dtype, self.resume).check_name(image)

    @contextmanager
    def open(self, each: Each) -> Iterator[GrowingArray]:
        """Begin, or read the names that are there; write the table at the end, whatever ends the run.

        Raises:
            UsageError: there is a table, or the array of a run that was killed, and `resume` is not set; or
                it is something else.
        """
        growing = self.output.with_name(f".{self.output.stem}.parquet-rows.npy")
        earlier: set[str] = set()
        if self.output.exists() and self.output.stat().st_size:
            if not self.resume:
                raise already_there(self.output)
            earlier.update(self._read(each))
        if not self.resume and growing.exists() and growing.stat().st_size:
            raise UsageError(
                f"an earlier run of {self.output} was ended before it wrote the file",
                hint="continue it with --resume, or choose another file",
            )
        array = GrowingArray(growing, self.dtype, resume=self.resume)
        try:
            array.report(each)
            yield array
        finally:
            array.close()
            if growing.exists():
                self._write(growing, earlier)
                for file in (growing, names_of(growing), maker_of(growing)):
                    file.unlink()

    def _read(self, each: Each) -> list[str]:
        """The names in the table that is there."""
        import pyarrow
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(self.output) as file:
                schema = file.schema_arrow
                facts = schema.metadata or {}
                made_by = (facts[b"model"].decode(), facts[b"variant"].decode())
                number = schema.field("embedding").type.value_type
                names: list[str] = file.read(["image"])["image"].to_pylist()
        except (pyarrow.ArrowException, OSError, KeyError, AttributeError):
            raise UsageError(
                f"{self.output} cannot be continued: it is not as pinnace embed writes it, so it was not "
                "changed",
                hint="choose another file",
            ) from None
        if number != pyarrow.from_numpy_dtype(np.dtype(self.dtype)):
            has = {"halffloat": "float16", "float": "float32"}.get(str(number), str(number))
            raise UsageError(
                f"{self.output} has numbers of another type",
                expected=has,
                got=self.dtype,
                hint=f"give --dtype {has}, or choose another file",
            )
        for name in names:
            each(Finished(name, (), made_by))
        return names

    def _write(self, growing: Path, earlier: set[str]) -> None:
        """Write the table: the rows that it had, and those of the array that it has not."""
        import pyarrow
        import pyarrow.parquet

        vectors = np.load(growing, mmap_mode="r")
        names = [_text(name) for name in _lines(names_of(growing))]
        new = [index for index, name in enumerate(names) if name not in earlier]
        number = pyarrow.from_numpy_dtype(vectors.dtype)
        schema = pyarrow.schema(
            [("image", pyarrow.string()), ("embedding", pyarrow.list_(number, vectors.shape[1]))],
            metadata=_facts(growing),
        )
        handle, temporary = tempfile.mkstemp(
            dir=self.output.absolute().parent, prefix=f".{self.output.name}."
        )
        os.close(handle)
        try:
            with pyarrow.parquet.ParquetWriter(temporary, schema) as writer:
                if earlier:
                    with pyarrow.parquet.ParquetFile(self.output) as old:
                        for group in range(old.num_row_groups):
                            writer.write_table(old.read_row_group(group).cast(schema))
                for start in range(0, len(new), _GROUP):
                    rows = new[start : start + _GROUP]
                    flat = pyarrow.array(vectors[rows].ravel())
                    lists = pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
                    images = pyarrow.array([names[row] for row in rows])
                    writer.write_table(pyarrow.table([images, lists], schema=schema))
            Path(temporary).chmod(0o644)
            Path(temporary).replace(self.output)
        finally:
            Path(temporary).unlink(missing_ok=True)


def _lines(path: Path) -> list[str]:
    return path.read_bytes().decode("utf-8", "surrogateescape").split("\n")[:-1]


def _text(name: str) -> str:
    """A name as Parquet can hold it: bytes that are not UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


def _facts(growing: Path) -> dict[str, str]:
    """What made the vectors, as the table's metadata say it."""
    maker = asdict(Maker(**json.loads(maker_of(growing).read_bytes())))
    return {key: str(value).lower() if isinstance(value, bool) else value for key, value in maker.items()}
