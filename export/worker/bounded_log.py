"""A log file that a flood of output cannot fill the disk with."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import IO

FIRST = 8 << 20
LAST = 2 << 20
_BLOCK = 1 << 16


class BoundedLog:
    """Copies a stream to a file until the stream ends: its first 8 MiB, and of the rest the last 2 MiB."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream = stream
        self._path = path
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def _copy(self) -> None:
        tail: deque[bytes] = deque()
        written = seen = kept = 0
        with self._stream, self._path.open("wb", buffering=0) as file:
            while block := self._stream.read1(_BLOCK):  # type: ignore[attr-defined]
                seen += len(block)
                if written < FIRST:
                    written += file.write(block)
                else:
                    tail.append(block)
                    kept += len(block)
                    # By bytes and not by blocks: an unbuffered child writes blocks of one byte, too.
                    while kept - len(tail[0]) >= LAST:
                        kept -= len(tail.popleft())
            if left_out := seen - written - kept:
                file.write(f"\n[{left_out} bytes were left out]\n".encode())
            file.writelines(tail)

    def close(self, timeout: float) -> None:
        """Wait until everything is written; no longer than `timeout` seconds."""
        self._thread.join(timeout)
