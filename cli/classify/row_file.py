"""A file of rows that grows during a run, and that a second run can continue."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Generic

from typing_extensions import Self

from pinnace.cli.classify.row_formats import Finished, Result, RowFormat
from pinnace.models.errors import PinnaceError, UsageError


class RowFile(Generic[Result]):
    """Rows that are on disk as soon as they are written. Open it in a `with` statement.

    It is not written under a temporary name: what an interrupted run leaves is what the next one needs.
    """

    def __init__(
        self,
        path: Path,
        format: RowFormat[Result],
        *,
        resume: bool,
        each: Callable[[Finished], None] = lambda finished: None,
    ) -> None:
        """Open the file; begin it, or find its end.

        Args:
            path: the file.
            format: how its rows are written.
            resume: continue where an earlier run stopped; a last row that was cut off is removed.
            each: called for every row of the earlier run.

        Raises:
            UsageError: the file cannot be written, is not empty and `resume` is not set, is being written by
                another process, or is in another format.
        """
        self.path = path
        self._format = format
        self._file = _open(path)
        end = 0
        try:
            if path.is_file():
                lock(self._file, path)
                if path.stat().st_size and not resume:
                    raise already_there(path)
                end = self._read(each)
                self._file.truncate(end)
            # Written with the first row, so that a run that fails before it leaves an empty file.
            self._heading = "" if end else format.header
        except BaseException:
            self._file.close()
            raise

    def write(self, image: str, outcome: Result | PinnaceError) -> None:
        """Append a row.

        Raises:
            UsageError: the disk is full.
        """
        line = self._format.line(image, outcome)
        if not line:
            return
        text = self._heading + line
        data = memoryview(text.encode("utf-8", self._format.encoding_errors))
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise not_written(self.path, error) from None
        self._heading = ""

    def _read(self, each: Callable[[Finished], None]) -> int:
        """Read what is there, and return where its last whole row ends."""
        end = 0
        with self.path.open("rb") as file:
            for number, data in enumerate(file, 1):
                line = data.decode("utf-8", "surrogateescape")
                is_header = bool(self._format.header) and number == 1
                if not line.endswith("\n"):
                    begins = (
                        self._format.header.startswith(line)
                        if is_header
                        else self._format.may_begin_with(line)
                    )
                    if not begins:
                        raise self._foreign(number, line)
                elif is_header:
                    if line != self._format.header:
                        raise UsageError(
                            f"{self.path} has other columns than this run would write",
                            expected=self._format.header.rstrip("\n"),
                            got=line.rstrip("\n"),
                            hint="give the same --top-k as before, or choose another file",
                        )
                    end += len(data)
                else:
                    try:
                        each(self._format.read(line))
                    except ValueError:
                        raise self._foreign(number, line) from None
                    end += len(data)
        return end

    def _foreign(self, number: int, line: str) -> UsageError:
        return UsageError(
            f"line {number} of {self.path} is not a row in this format, so the file was not changed",
            got=line.rstrip("\n")[:80],
            hint="choose another file",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()


def _open(path: Path) -> FileIO:
    try:
        return path.open("ab", buffering=0)
    except OSError as error:
        raise not_written(path, error) from None


def lock(file: IO[Any] | FileIO | int, name: object, kind: str = "file") -> None:
    """Take a file or a folder that is open for this run.

    Args:
        file: the file, or a descriptor.
        name: what to call it.
        kind: which of the two it is.

    Raises:
        UsageError: another run has it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"another run is writing {name}", hint=f"wait for it, or choose another {kind}"
        ) from None
    except OSError:
        pass  # a file system without locks


def already_there(path: Path) -> UsageError:
    """A file that holds something, where none is to be continued."""
    return UsageError(
        f"{path} already exists and is not empty", hint="continue it with --resume, or choose another file"
    )


def not_written(path: Path, error: OSError) -> UsageError:
    """A file that cannot be opened or has no room."""
    return UsageError(f"{path} cannot be written: {error.strerror}", hint="choose another file")
