"""Odd and hostile image files, made here: name, bytes, and what the server has to say of them."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image


class Case(NamedTuple):
    """A file.

    Attributes:
        name: what it is.
        data: its bytes.
        status: the HTTP status that is right for it.
    """

    name: str
    data: bytes
    status: int


GOOD, DAMAGED, LARGE, OTHER = 200, 400, 413, 415


def photograph(size: tuple[int, int] = (61, 47)) -> Image.Image:
    """Something with detail, the same each time."""
    values = np.random.default_rng(7).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes, depth: int = 8, kind: int = 2, extra: bytes = b"") -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(pixels, 9))
    return b"\x89PNG\r\n\x1a\n" + header + extra + body + png_chunk(b"IEND")


def tiff(entries: list[tuple[int, int, int, int]], tail: bytes = b"") -> bytes:
    """Tag, type, count, value or offset."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\x00" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4) + tail


def bmp(image: Image.Image) -> bytearray:
    return bytearray(encoded(image, "BMP"))


def rle_bmp() -> bytes:
    """8 x 4, run-length coded, two colours."""
    palette = b"\x00\x00\xff\x00" + b"\xff\x00\x00\x00" + bytes(4 * 254)
    rows = b"\x08\x01\x00\x00\x08\x00\x00\x00" * 2 + b"\x00\x01"
    head = struct.pack("<IiiHHIIiiII", 40, 8, 4, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 14 + 40 + 1024 + len(rows), 0, 0, 1078) + head + palette + rows


def good() -> Iterator[tuple[str, bytes]]:
    image = photograph()
    grey, rgba = image.convert("L"), image.convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(image.size))
    yield "jpeg", encoded(image, "JPEG")
    yield "jpeg, progressive", encoded(image, "JPEG", progressive=True)
    yield "jpeg, grey", encoded(grey, "JPEG")
    yield "avif", encoded(image, "AVIF")
    yield "avif with an alpha channel", encoded(rgba, "AVIF")
    yield "jpeg, CMYK", encoded(image.convert("CMYK"), "JPEG")
    yield "jpeg, 4:4:4 with restart markers", encoded(image, "JPEG", subsampling=0, restart_marker_rows=1)
    yield "jpeg, trailing garbage", encoded(image, "JPEG") + b"<script>" * 5000
    yield "jpeg, zip behind it", encoded(image, "JPEG") + b"PK\x03\x04" + bytes(500)
    yield "jpeg, broken EXIF", encoded(image, "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    loop = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x69\x87\x04\x00\x01\x00\x00\x00\x08\x00\x00\x00"
    yield "jpeg, EXIF that points at itself", encoded(image, "JPEG", exif=loop + struct.pack("<I", 8))
    exif = Image.Exif()
    exif[0x0112] = 99
    yield "jpeg, orientation 99", encoded(image, "JPEG", exif=exif)
    exif[0x0112] = 6
    yield "jpeg, orientation 6", encoded(image, "JPEG", exif=exif)
    yield "jpeg, broken ICC profile", encoded(image, "JPEG", icc_profile=b"no profile at all" * 9000)
    yield "jpeg, 4 kB comment", encoded(image, "JPEG", comment=b"\xff" * 4000)
    yield "jpeg, 1 x 1", encoded(image.crop((0, 0, 1, 1)), "JPEG")
    yield "jpeg, 1 x 60000", encoded(image.resize((1, 60_000)), "JPEG")
    yield "jpeg, 60000 x 1", encoded(image.resize((60_000, 1)), "JPEG")
    yield "jpeg, a broken restart marker", broken_restart(image)
    yield "png", encoded(image, "PNG")
    yield "png, 1 bit", encoded(grey.convert("1"), "PNG")
    yield (
        "png, 16 bits grey",
        encoded(Image.fromarray(np.asarray(grey).astype(np.uint16) * np.uint16(257)), "PNG"),
    )
    yield "png, RGBA", encoded(rgba, "PNG")
    yield "png, LA", encoded(rgba.convert("LA"), "PNG")
    palette = image.quantize(16)
    yield "png, palette", encoded(palette, "PNG")
    yield "png, palette with transparency", encoded(palette, "PNG", transparency=bytes(range(16)))
    yield "png, a transparent colour", encoded(image, "PNG", transparency=(1, 2, 3))
    yield "png, 60000 x 1", encoded(image.resize((60_000, 1)), "PNG")
    yield "png, broken ICC profile", encoded(image, "PNG", icc_profile=b"x")
    yield "png, called .jpg by nobody", encoded(image, "PNG")
    yield "apng", encoded(image, "PNG", save_all=True, append_images=[image.rotate(90)])
    yield "gif", encoded(image, "GIF")
    yield "gif, animated", encoded(image, "GIF", save_all=True, append_images=[image.rotate(90)] * 3)
    yield "gif, interlaced", encoded(palette, "GIF", interlace=1)
    yield "webp", encoded(image, "WEBP")
    yield "webp, lossless", encoded(image, "WEBP", lossless=True)
    yield "webp, alpha", encoded(rgba, "WEBP", lossless=True)
    yield "webp, animated", encoded(image, "WEBP", save_all=True, append_images=[image.rotate(90)])
    yield "bmp, 24 bits", bytes(bmp(image))
    yield "bmp, 8 bits", bytes(bmp(palette))
    yield "bmp, 32 bits", bytes(bmp(rgba))
    yield "bmp, run lengths", rle_bmp()
    top_down = bmp(image)
    top_down[22:26] = struct.pack("<i", -image.height)
    yield "bmp, top down", bytes(top_down)
    yield "tiff", encoded(image, "TIFF")
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        yield f"tiff, {compression}", encoded(image, "TIFF", compression=compression)
    yield "tiff, group 4", encoded(grey.convert("1"), "TIFF", compression="group4")
    yield (
        "tiff, 16 bits",
        encoded(Image.fromarray(np.asarray(grey).astype(np.uint16) * np.uint16(257)), "TIFF"),
    )
    yield "tiff, two pages", encoded(image, "TIFF", save_all=True, append_images=[image.rotate(90)])
    yield "tiff, CMYK", encoded(image.convert("CMYK"), "TIFF")


def broken_restart(image: Image.Image) -> bytes:
    data = encoded(image.resize((160, 160)), "JPEG", restart_marker_rows=1)
    return data.replace(b"\xff\xd2", b"\xff\xd5", 1)


def damaged() -> Iterator[tuple[str, bytes]]:
    image = photograph()
    yield "nothing", b""
    for format in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"):
        options = {"compression": "tiff_lzw"} if format == "TIFF" else {}
        data = encoded(image, format, **options)
        yield f"{format}, cut in the middle", data[: len(data) // 2]
        yield f"{format}, cut in the header", data[:20]
    yield "jpeg, only markers", b"\xff\xd8\xff\xd9"
    whole = encoded(image, "PNG")
    at = whole.index(b"IDAT") + 20
    yield "png, wrong checksum", whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]
    yield "png, zero wide", png(0, 10, b"")
    yield "png, zero high", png(10, 0, b"")
    yield "png, no pixels", png(100, 100, b"")
    yield "png, half of the pixels", png(100, 100, bytes(15_000))
    yield "gif, no frame", b"GIF89a\x10\x00\x10\x00\x00\x00\x00;"
    yield (
        "gif, zero wide",
        b"GIF89a\x00\x00\x10\x00\x00\x00\x00,\x00\x00\x00\x00\x00\x00\x10\x00\x00\x02\x00;",
    )
    avif = encoded(image.resize((1500, 1500)), "AVIF", speed=10)
    at = avif.index(b"ispe") + 8
    yield "avif, larger than it says", avif[:at] + struct.pack(">II", 20, 20) + avif[at + 8 :]
    yield "avif, nothing but its name", b"\x00\x00\x00\x18ftypavif" + bytes(100)
    yield "webp, wrong length", b"RIFF\xff\xff\xff\x7fWEBPVP8 " + bytes(40)
    yield "tiff, no tags", tiff([])
    yield "tiff, the directory outside", b"II*\x00\xff\xff\xff\x7f"
    yield "tiff, thousands of tags", tiff([(40_000 + n, 7, 1_000_000, 8) for n in range(5000)], bytes(1000))
    many = [(256, 4, 1, 9), (257, 4, 1, 9), (273, 4, 2**32 - 1, 8)]
    yield "tiff, a count of four thousand million", tiff(many)
    twelve = bytearray(encoded(image, "JPEG"))
    twelve[twelve.index(b"\xff\xc0") + 4] = 12
    yield "jpeg, 12 bits", bytes(twelve)
    yield "jpeg, no tables", b"".join(encoded(image, "JPEG").partition(b"\xff\xc0")[::2])
    text = png_chunk(b"zTXt", b"k\x00\x00" + zlib.compress(bytes(900_000), 9))
    yield "png, 100 MB of text", png(8, 8, bytes(25 * 8), extra=text * 110)
    yield "png, 100,000 empty chunks", png(8, 8, bytes(25 * 8), extra=png_chunk(b"abCd") * 100_000)


def large() -> Iterator[tuple[str, bytes]]:
    yield "png, says 50000 x 50000", png(50_000, 50_000, b"")
    yield "png, says 2147483647 x 2147483647", png(2**31 - 1, 2**31 - 1, b"")
    yield "png, a bomb of 10100 x 10100", png(10_100, 10_100, bytes(10_100 * (1 + 3 * 10_100)))
    jpeg = bytearray(encoded(photograph(), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    yield "jpeg, says 65000 x 65000", bytes(jpeg)
    gif = bytearray(encoded(photograph(), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    yield "gif, says 65535 x 65535", bytes(gif)
    yield (
        "webp, says 16383 x 16383",
        b"RIFF"
        + struct.pack("<I", 30)
        + b"WEBPVP8X\x0a\x00\x00\x00"
        + bytes(4)
        + b"\xfe\x3f\x00\xfe\x3f\x00"
        + bytes(8),
    )
    bitmap = bmp(photograph())
    bitmap[18:26] = struct.pack("<ii", 60_000, 60_000)
    yield "bmp, says 60000 x 60000", bytes(bitmap)
    head = struct.pack("<IiiHHIIiiII", 40, -8, 4, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "bmp, negative width", b"BM" + struct.pack("<IHHI", 70, 0, 0, 54) + head  # read as unsigned
    size = [(256, 4, 1, 60_000), (257, 4, 1, 60_000)]
    grey = [(258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    strip = [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 60_000), (279, 4, 1, 9)]
    yield "tiff, says 60000 x 60000", tiff(size + grey + strip)


def other() -> Iterator[tuple[str, bytes]]:
    image = photograph()
    for format in ("ICO", "PPM", "TGA", "PCX", "PDF", "EPS", "JPEG2000", "ICNS", "SGI", "DDS"):
        yield format, encoded(image.resize((64, 64)), format)
    scales = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    yield "tiff, floating point", encoded(Image.fromarray(scales), "TIFF")
    yield "tiff, 32-bit integers", encoded(Image.fromarray((scales * 2e9).astype(np.int32)), "TIFF")
    yield "psd", b"8BPS\x00\x01" + bytes(100)
    yield "svg", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://127.0.0.1:1/'/></svg>"
    yield "film", b"\x00\x00\x00\x18ftypisom" + bytes(100)
    yield "avif, a sequence", encoded(image, "AVIF", save_all=True, append_images=[image.rotate(9)])
    yield "zip", b"PK\x03\x04" + bytes(100)
    yield "html", b"<!DOCTYPE html><script>alert(1)</script>"
    yield "elf", b"\x7fELF" + bytes(100)
    yield "pickle", pickle.dumps({"image": [1, 2, 3]})
    yield "numpy", b"\x93NUMPY" + bytes(100)
    yield "a url", b"http://127.0.0.1:1/cat.jpg"
    yield "a path", b"/etc/passwd"
    yield "zeros", bytes(1000)


def cases() -> list[Case]:
    """All of them."""
    groups = {GOOD: good(), DAMAGED: damaged(), LARGE: large(), OTHER: other()}
    return [Case(name, data, status) for status, group in groups.items() for name, data in group]
