"""Standard output and error, fit for closed streams, full disks and names that a terminal cannot show."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from pinnace.models.errors import UsageError


class _Output(io.TextIOWrapper):
    """Standard output, on which a full disk is told from one that an output file is on."""

    def write(self, text: str, /) -> int:
        """As its parent.

        Raises:
            UsageError: it cannot be written.
            BrokenPipeError: whatever reads it has closed it.
        """
        try:
            return super().write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _unwritable(error) from error

    def flush(self) -> None:
        """As its parent, with the errors of `write`."""
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _unwritable(error) from error


def prepare_streams() -> None:
    """Make the streams of this process such that the commands need not look after them.

    What is printed vanishes where a stream is closed, as with `>&-` or in a daemon. Otherwise the next file
    that is opened would get its number, and what libraries print would go there. A file's name may hold
    characters that this terminal or pipe cannot show: they are printed as escapes.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                os.fstat(number)
                continue
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper):
        given = sys.stdout
        encoding, buffered_by_line = given.encoding, given.line_buffering
        sys.stdout = _Output(
            given.detach(), encoding, errors="backslashreplace", line_buffering=buffered_by_line
        )


def discard_output() -> None:
    """Keep the interpreter from writing what is left to standard output, and failing, when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unwritable(error: OSError) -> UsageError:
    discard_output()
    return UsageError(f"standard output cannot be written: {(error.strerror or str(error)).lower()}")
