"""The kernel's files about the machine, in /sys and /proc, under a root folder that a test can replace."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType


class Sysfs:
    """Reads small files under `root`; what is not there, or may not be read, is None and never an error."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    @property
    def is_missing(self) -> bool:
        """Whether the running system has no such files, because it is not Linux."""
        return self.root == Path("/") and self.text("proc/cpuinfo") is None

    def path(self, name: str) -> Path:
        """Where `name`, such as `proc/cpuinfo`, stands under the root."""
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str | None:
        """A file's text without the NUL and the newline at its end, or None."""
        return _text(self.path(name))

    def number(self, name: str) -> float | None:
        """The number that a file begins with, or None."""
        return _number(self.text(name))

    def glob(self, pattern: str) -> list[str]:
        """Names under the root that match, in the order of the numbers in them."""
        found = self.root.glob(pattern.lstrip("/"))
        return sorted((path.relative_to(self.root).as_posix() for path in found), key=_by_numbers)


class Gauges:
    """Files that are read again and again, kept open: one read of a gauge is one system call."""

    def __init__(self, sysfs: Sysfs, names: list[str]) -> None:
        self._handles: dict[str, int] = {}
        for name in names:
            try:
                self._handles[name] = os.open(sysfs.path(name), os.O_RDONLY)
            except OSError:
                continue

    @property
    def names(self) -> list[str]:
        """The files that could be opened."""
        return list(self._handles)

    def text(self, name: str) -> str | None:
        """What the file says now, at most 4 KiB of it."""
        try:
            return _decoded(os.pread(self._handles[name], 4096, 0))
        except (OSError, KeyError):
            return None

    def number(self, name: str) -> float | None:
        """The number that the file begins with now."""
        return _number(self.text(name))

    def close(self) -> None:
        """Close the files."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def __enter__(self) -> Gauges:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _text(path: Path) -> str | None:
    try:
        return _decoded(path.read_bytes())
    except OSError:
        return None


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip("\x00\n ")


def _number(text: str | None) -> float | None:
    try:
        return float((text or "").split()[0])
    except (ValueError, IndexError):
        return None


def _by_numbers(name: str) -> list[tuple[int, str]]:
    parts: list[tuple[int, str]] = []
    digits = ""
    for char in name + "\x00":
        if char.isdigit():
            digits += char
            continue
        if digits:
            parts.append((int(digits), ""))
            digits = ""
        parts.append((0, char))
    return parts
