"""Reading an image file from disk: a regular file and no other, with a bound on its size."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pinnace.models.errors import ImageError, ImageTooLarge
from pinnace.models.files import similar_path

# A file is read whole. Photographs take some MB, and a hundred million pixels of 16 bits without compression
# 800 MB.
MOST_FILE_BYTES = 1_000_000_000


def read_image_file(path: Path) -> bytes:
    """The bytes of a file; a pipe may say nothing for ever, and a device never end.

    Raises:
        ImageError: there is no such file, it is not a regular file, or it cannot be read.
        ImageTooLarge: it has more than `MOST_FILE_BYTES`, or memory does not hold it.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{path} is not a file but a pipe, device or socket")
            if status.st_size > MOST_FILE_BYTES:
                raise ImageTooLarge(
                    f"the file {path} is too large for an image",
                    expected=f"at most {MOST_FILE_BYTES:,} bytes",
                    got=f"{status.st_size:,} bytes",
                )
            return stream.read(MOST_FILE_BYTES)
    except FileNotFoundError:
        similar = similar_path(Path(path))
        hint = None if similar is None else f"did you mean {similar}?"
        raise ImageError(f"there is no file {path}", hint=hint) from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a directory, not an image file") from None
    except MemoryError:
        raise ImageTooLarge(f"there is not enough memory to read {path}") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"the file {path} cannot be read", got=str(error)) from None


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
