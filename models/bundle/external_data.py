"""Which files an ONNX file takes its weights from, found without the package onnx, which a server lacks.

A tensor that lies elsewhere has entries of a key and a value, of which `location` is one; see
https://github.com/onnx/onnx/blob/main/docs/ExternalData.md.
"""

from __future__ import annotations

import mmap
from pathlib import Path

# Field 1 of an entry, the key, of eight bytes; field 2, the value, comes next in what every writer writes.
_KEY = b"\n\x08location"
_VALUE = 0x12
_MOST_BYTES_OF_LENGTH = 3


def locations(path: Path) -> set[str]:
    """The files beside an ONNX file that its tensors are read from, as it names them.

    A tensor whose bytes say the same by chance would count, which eleven bytes do not do.
    """
    found: set[str] = set()
    with path.open("rb") as file:
        if not path.stat().st_size:
            return found
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at = data.find(_KEY)
            while at >= 0:
                at += len(_KEY)
                found.add(_value(data[at : at + 4096]))
                at = data.find(_KEY, at)
    return found


def _value(data: bytes) -> str:
    """The text that follows a key; empty, which is no file's name, where it is not written as usual."""
    length, shift = 0, 0
    for at in range(1, 1 + _MOST_BYTES_OF_LENGTH):
        if data[:1] != bytes([_VALUE]) or at >= len(data):
            return ""
        length |= (data[at] & 0x7F) << shift
        shift += 7
        if data[at] < 0x80:
            return data[at + 1 : at + 1 + length].decode("utf-8", "replace")
    return ""
