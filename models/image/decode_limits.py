"""The bytes of a file whose sender is not trusted: bounds on the work they ask for beside pixels."""

from __future__ import annotations

import io

import numpy as np

from pinnace.models.errors import ImageError

# Every chunk, marker, block and tag costs a few reads, and a microsecond or more of Python each. Photographs
# take tens of reads, and a PNG of 20 MB in chunks of 8 kB ten thousand.
MOST_READS = 200_000

# A scan of a progressive JPEG may take a few bytes, and passes over all pixels: about 1.5 ns for each.
# Encoders write ten scans or so.
USUAL_SCANS = 20
MOST_SCANNED_PIXELS = 3_000_000_000

_START_OF_SCAN = b"\xff\xda"


class MeteredBytes(io.BytesIO):
    """Bytes that give up on a reader which takes them in crumbs: millions of empty chunks, or fill bytes."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        super().__init__(data)
        self._left = MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as `io.BytesIO` does.

        Raises:
            ValueError: it was read too often.
        """
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"it takes more than {MOST_READS:,} reads")
        return super().read(size)


def check_scans(jpeg: bytes, pixels: int) -> None:
    """Refuse a JPEG that would be passed over far more often than any encoder asks for.

    Args:
        jpeg: the file. The markers of thumbnails inside it are counted as well.
        pixels: its width times its height.

    Raises:
        ImageError: there are too many scans for its size.
    """
    scans = _count(jpeg, _START_OF_SCAN)
    if scans > USUAL_SCANS and scans * pixels > MOST_SCANNED_PIXELS:
        most = max(USUAL_SCANS, MOST_SCANNED_PIXELS // pixels)
        raise ImageError(
            f"the JPEG image has {scans} scans", expected=f"at most {most} for {pixels:,} pixels"
        )


def _count(data: bytes, pair: bytes) -> int:
    """`data.count(pair)` of two different bytes, several times as fast."""
    values = np.frombuffer(data, np.uint8)
    first = np.flatnonzero(values[:-1] == pair[0])
    return int(np.count_nonzero(values[first + 1] == pair[1]))
