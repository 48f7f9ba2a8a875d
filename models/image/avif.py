"""What an AVIF holds besides what its header says of its size, looked at before it is decoded.

An AVIF is a tree of boxes (ISO/IEC 14496-12) whose items are AV1 bitstreams. Its size stands in a box, and
once more in each bitstream; libavif decodes what the bitstream says and scales that, so a file that says 10 x
10 could take gigabytes. See https://aomediacodec.github.io/av1-avif and section 5.5 of the AV1 specification.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from pinnace.models.errors import ImageError, UnsupportedImage

# The frames may have more pixels than the image: an alpha channel, thumbnails, tiles that reach beyond it.
_MOST_TIMES = 3
_FREE_PIXELS = 65_536

_MOST_ITEMS = 2_000
_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_MOST_FRAMES = 8  # of one item: the layers of a progressive one

_MOST_UNITS = 200
_ONCE = (b"meta", b"iinf", b"iloc", b"idat")


def check_avif(data: memoryview, width: int, height: int) -> None:
    """Refuse an AVIF whose frames have far more pixels than it says, or that has many frames.

    Args:
        data: the file.
        width: what it says of its size, in pixels.
        height: the same.

    Raises:
        UnsupportedImage: it is a sequence.
        ImageError: its frames are too large or too many, or its boxes cannot be followed.
    """
    try:
        boxes = _by_name(data)
        if b"moov" in boxes:
            raise UnsupportedImage("the AVIF image is a sequence", hint="send one picture")
        frames = [_largest_frame(item) for item in _items(data, _by_name(boxes[b"meta"][4:]))]
    except (struct.error, IndexError, KeyError, ValueError, OverflowError) as error:
        got = str(error) or type(error).__name__
        raise ImageError("the AVIF image is damaged or cut short", got=got) from None
    pixels, most = sum(frames), _MOST_TIMES * width * height + _FREE_PIXELS * max(1, len(frames))
    if pixels > most:
        raise ImageError(
            f"the AVIF image says {width} x {height} pixels, and its frames have {pixels:,}",
            expected=f"at most {most:,}",
        )


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The names and contents of the boxes that are in here, one after another."""
    at = 0
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = len(data) if size == 0 else at + size
        if not start <= end <= len(data):
            raise ValueError(f"the box {name!r} reaches beyond the file")
        yield name, data[start:end]
        at = end


def _by_name(data: memoryview) -> dict[bytes, memoryview]:
    found: dict[bytes, memoryview] = {}
    for name, content in _boxes(data):
        if name in found and name in _ONCE:
            raise ValueError(f"there are two boxes {name!r}")
        found[name] = content
    return found


def _items(data: memoryview, meta: dict[bytes, memoryview]) -> Iterator[bytes]:
    """The bitstreams of the items that are AV1."""
    wanted = _coded_items(meta[b"iinf"])
    left = 2 * len(data)  # extents may be the same bytes of the file
    reader = _Bytes(meta[b"iloc"])
    version = reader.number(1)
    reader.at = 4
    sizes = [nibble for byte in (reader.number(1), reader.number(1)) for nibble in (byte >> 4, byte & 15)]
    offset_size, length_size, base_size, index_size = sizes
    wide = 4 if version == 2 else 2
    for _ in range(_few(reader.number(wide))):
        item = reader.number(wide)
        method = reader.number(2) & 15 if version else 0
        reader.number(2)  # the file that it is in, which is this one
        base = reader.number(base_size)
        found = bytearray()
        for _ in range(_few(reader.number(2))):
            if version and index_size:
                reader.number(index_size)
            start, length = base + reader.number(offset_size), reader.number(length_size)
            source = {0: data, 1: meta.get(b"idat", memoryview(b""))}[method]
            length = length or len(source) - start
            if not 0 <= start <= start + length <= len(source):
                raise ValueError("an item reaches beyond the file")
            if item in wanted:
                left -= length
                if left < 0:
                    raise ValueError("its items are larger than the file")
                found += source[start : start + length]
        if item in wanted:
            yield bytes(found)


def _coded_items(iinf: memoryview) -> set[int]:
    """The numbers of the items that are AV1 bitstreams."""
    start = 6 if iinf[0] == 0 else 8
    found = set()
    for name, entry in _boxes(iinf[start:]):
        if name == b"infe" and entry[0] >= 2:
            number, _, kind = struct.unpack_from(">HH4s" if entry[0] == 2 else ">IH4s", entry, 4)
            if kind == b"av01":
                found.add(number)
    return found


def _few(count: int) -> int:
    if count > _MOST_ITEMS:
        raise ValueError(f"it has {count} parts")
    return count


def _largest_frame(stream: bytes) -> int:
    """The most pixels that a frame of an AV1 bitstream may have, by its sequence headers."""
    most, frames, units, at = 0, 0, 0, 0
    while at < len(stream):
        units += 1
        head = stream[at]
        kind, extended, sized = head >> 3 & 15, head >> 2 & 1, head >> 1 & 1
        at += 1 + extended
        size = len(stream) - at
        if sized:
            size, at = _leb128(stream, at)
        if at + size > len(stream):
            raise ValueError("a unit reaches beyond its item")
        if kind == _SEQUENCE_HEADER:
            most = max(most, _frame_pixels(_Bits(stream[at : at + size])))
        frames += kind in (_FRAME_HEADER, _FRAME)
        if frames > _MOST_FRAMES or units > _MOST_UNITS:
            raise ValueError(f"an item has more than {_MOST_FRAMES} frames, or {_MOST_UNITS} units")
        at += size
    return most


def _leb128(stream: bytes, at: int) -> tuple[int, int]:
    """A number of a variable length, and where what follows begins."""
    value = 0
    for shift in range(0, 56, 7):
        byte = stream[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number is too long")


def _frame_pixels(bits: _Bits) -> int:
    """The largest frame that a sequence header allows: its syntax is section 5.5.1 of the specification."""
    bits.take(4)  # profile, still picture
    if bits.take(1):  # the reduced header of a still picture
        bits.take(5)
    else:
        delay = 0
        if bits.take(1):  # timing
            bits.take(64)
            if bits.take(1):
                bits.skip_uvlc()
            if bits.take(1):  # the decoder's model
                delay = bits.take(5) + 1
                bits.take(42)
        display = bits.take(1)
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            if bits.take(5) > 7:
                bits.take(1)
            if delay and bits.take(1):
                bits.take(2 * delay + 1)
            if display and bits.take(1):
                bits.take(4)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return (bits.take(width_bits) + 1) * (bits.take(height_bits) + 1)


@dataclass
class _Bytes:
    """Reads numbers of whole bytes, the most significant first."""

    data: memoryview
    at: int = 0

    def number(self, size: int) -> int:
        if self.at + size > len(self.data):
            raise ValueError("a list is cut short")
        value = int.from_bytes(self.data[self.at : self.at + size], "big")
        self.at += size
        return value


@dataclass
class _Bits:
    """Reads bits, the most significant first."""

    data: bytes
    at: int = field(default=0, init=False)

    def take(self, count: int) -> int:
        if self.at + count > 8 * len(self.data):
            raise ValueError("a sequence header is cut short")
        first, last = self.at // 8, (self.at + count + 7) // 8
        value = int.from_bytes(self.data[first:last], "big") >> (8 * last - self.at - count)
        self.at += count
        return value & ((1 << count) - 1)

    def skip_uvlc(self) -> None:
        zeros = 0
        while not self.take(1):
            zeros += 1
        if zeros < 32:
            self.take(zeros)
