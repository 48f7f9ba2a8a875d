"""Files that claim more than they have are refused before anything is allocated for it."""

from __future__ import annotations

import io
import os
import random
import struct
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pinnace.models.errors import ImageError, ImageTooLarge
from pinnace.models.image import resample
from pinnace.models.image.decode import open_image
from pinnace.models.image.decode_limits import decoding_bytes


def tiff(**changes: int) -> bytes:
    """A TIFF of 8 x 8 grey pixels in one tile, in LZW; `t322=...` changes a tag, `n322=...` its count."""
    tags = {256: 8, 257: 8, 258: 8, 259: 5, 262: 1, 277: 1, 322: 16, 323: 16, 324: 150, 325: 6}
    tags |= {int(name[1:]): value for name, value in changes.items() if name[0] == "t"}
    counts = {int(name[1:]): value for name, value in changes.items() if name[0] == "n"}
    entries = [struct.pack("<HHII", tag, 4, counts.get(tag, 1), value) for tag, value in tags.items()]
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(100)


def webp(width: int, height: int) -> bytes:
    """The beginning of an animated WebP."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + canvas + bytes(40)


def rle_bmp(width: int, height: int) -> bytes:
    """A compressed BMP that only ends its lines."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + head + bytes(1024) + bytes(2 * height)


def directory(size: int, count: int = 3000) -> bytes:
    """EXIF whose tags all stand for the same bytes, which are most of it."""
    entries = b"".join(struct.pack("<HHII", 40_000 + number, 7, size, 8) for number in range(count))
    return b"II*\0" + struct.pack("<IH", 8, count) + entries + bytes(4)


EXIF = directory(30_000)
JUNK = b"junk" + b"\xff\x00" + b"\xff\xd1" + b"\xff\xff"


def encoded(format: str, size: tuple[int, int] = (8, 8), mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, format, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def jpeg_with(*parts: bytes, marker: int = 0xE1, name: bytes = b"Exif\0\0", junk: bytes = b"") -> bytes:
    whole = encoded("JPEG")
    segments = [
        b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(name) + len(part)) + name + part
        for part in parts
    ]
    return whole[:2] + junk.join([whole[2:20], *segments, whole[20:]])


def png_with_exif(in_text: bool = False) -> bytes:
    text = PngInfo()
    if in_text:
        text.add_text("Raw profile type exif", f"\nexif\n{len(EXIF)}\n{EXIF.hex()}", zip=True)
        return encoded("PNG", pnginfo=text)
    return encoded("PNG", exif=b"Exif\0\0" + EXIF)


def webp_with_exif() -> bytes:
    return encoded("WEBP", exif=EXIF)


def gif_with_comment(size: int) -> bytes:
    whole = encoded("GIF")
    start = whole.index(b",")
    blocks = b"\xff" + bytes(255)
    return whole[:start] + b"!\xfe" + blocks * (size // 255) + b"\0" + whole[start:]


def repeated_tags(count: int) -> dict[str, int]:
    tags = {f"t{40_000 + number}": 8 for number in range(count)}
    return {**tags, **{name.replace("t", "n"): 5000 for name in tags}}


HOSTILE = {
    "a tile of 4 billion pixels": (
        tiff(t322=65_520, t323=65_520),
        ImageTooLarge,
        "tiles far larger",
    ),
    "a list of a million tiles": (tiff(n324=1_000_000), ImageError, "1,000,000 values for tag 324"),
    "a canvas of 268 million pixels": (webp(16_383, 16_383), ImageTooLarge, "16383 x 16383"),
    "lines that Python fills": (rle_bmp(9000, 9000), ImageTooLarge, "compressed BMP image has 81,000,000"),
    "a line of 16 million pixels": (
        rle_bmp(1 << 24, 1),
        ImageTooLarge,
        "BMP image is 16,777,216 pixels wide",
    ),
    "a TIFF's tags for the whole of it": (tiff(**repeated_tags(2000)), ImageError, "tags of the TIFF image"),
    "EXIF in a JPEG": (jpeg_with(EXIF), ImageError, "tags of the EXIF stand for"),
    "EXIF in segments": (jpeg_with(EXIF[:9000], EXIF[9000:]), ImageError, "tags of the EXIF stand for"),
    "EXIF behind bytes of no segment": (jpeg_with(EXIF, junk=JUNK), ImageError, "tags of the EXIF stand for"),
    "MPF in a JPEG": (jpeg_with(EXIF, marker=0xE2, name=b"MPF\0"), ImageError, "tags of the EXIF stand for"),
    "EXIF in a PNG": (png_with_exif(), ImageError, "tags of the EXIF stand for"),
    "EXIF in the text of a PNG": (png_with_exif(in_text=True), ImageError, "tags of the EXIF stand for"),
    "EXIF in a WebP": (webp_with_exif(), ImageError, "tags of the EXIF stand for"),
    "a comment of 3 MB in a GIF": (gif_with_comment(3_000_000), ImageError, "too many reads"),
}


@pytest.mark.parametrize(("data", "kind", "text"), HOSTILE.values(), ids=HOSTILE)
def test_claims_are_refused_before_memory_is_allocated(data: bytes, kind: type, text: str) -> None:
    Image.init()  # the modules of Pillow are not what is counted
    tracemalloc.start()
    try:
        with pytest.raises(kind, match=text):
            open_image(data)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
def test_usual_files_of_those_kinds_are_read(compression: str) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((300, 200), 20).save(buffer, "TIFF", compression=compression)
    assert open_image(buffer.getvalue()).size == (300, 200)
    animated = io.BytesIO()
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue")]
    frames[0].save(animated, "WEBP", save_all=True, append_images=frames[1:])
    assert open_image(animated.getvalue(), max_pixels=600).size == (30, 20)
    with pytest.raises(ImageTooLarge):
        open_image(animated.getvalue(), max_pixels=599)


@pytest.mark.parametrize(
    ("options", "each"),
    [
        ({"format": "PNG"}, 4),
        ({"format": "JPEG"}, 4),
        ({"format": "JPEG", "progressive": True, "subsampling": 0}, 10),
        ({"format": "JPEG", "progressive": True, "subsampling": 2}, 7),
        ({"format": "WEBP"}, 18),
    ],
)
def test_what_a_pixel_costs(options: dict[str, object], each: int) -> None:
    data = encoded(size=(64, 64), **options)  # type: ignore[arg-type]
    reserved: list[int] = []
    open_image(data, reserve=reserved.append)
    assert reserved == [each * 64 * 64 + 16 * 64 + 9 * 64]
    assert decoding_bytes(Image.open(io.BytesIO(data))) == reserved[0]


@pytest.mark.parametrize(
    ("options", "each"),
    [
        ({"compression": "raw"}, 5),
        ({"compression": "tiff_lzw"}, 8),  # all rows of the file are one strip
        ({"compression": "jpeg"}, 8),
        ({"compression": "tiff_lzw", "mode": "YCbCr"}, 9),  # libtiff makes RGBA of it
        ({"compression": "tiff_lzw", "strip_size": 1}, 5),
    ],
)
def test_a_strip_of_a_tiff_costs_as_much_as_it_holds(options: dict[str, object], each: int) -> None:
    options = {"size": (1024, 768), "strip_size": 1 << 30, **options}
    image = Image.open(io.BytesIO(encoded("TIFF", **options)))  # type: ignore[arg-type]
    rows = image.tag_v2[278]  # type: ignore[attr-defined]
    beside = 16 * 1024 + 9 * 768
    of_a_row = 3 * 1024 * rows if options["strip_size"] == 1 else 0
    assert decoding_bytes(image) == each * 1024 * 768 + beside + of_a_row


def test_so_do_its_tiles() -> None:
    small = decoding_bytes(Image.open(io.BytesIO(tiff())))
    assert decoding_bytes(Image.open(io.BytesIO(tiff(t322=2048, t323=1024)))) == small + 2048 * 1024 - 256


def test_pipes_devices_and_giants_are_errors_of_an_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(40 << 30)
    for name, text in (
        ("pipe", "not a file but a pipe"),
        ("zero", "not a file but"),
        ("sparse", "too large"),
    ):
        with pytest.raises(ImageError, match=text):
            open_image(tmp_path / f"{name}.jpg")


def scanned(side: int, scans: int) -> bytes:
    """A grey progressive JPEG of so many scans, the last of which stands there again and again."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 128).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    first = data.rindex(b"\xff\xda")
    usual = data.count(b"\xff\xda")
    return data[:-2] + data[first:-2] * (scans - usual) + b"\xff\xd9"


def tiff_of_jpeg(jpeg: bytes, side: int) -> bytes:
    """A TIFF with one strip, which is that JPEG."""
    tags = {256: side, 257: side, 258: 8, 259: 7, 262: 1, 273: 122, 277: 1, 278: side, 279: len(jpeg)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + jpeg


@pytest.mark.skipif(resample._window is None, reason="the compiled module is not built")
def test_the_compiled_module_counts_the_same_scans() -> None:
    drawn = random.Random(0)
    for length in [*range(12)] * 40:
        data = bytes(drawn.choices([0xFF, 0xDA, 0], k=length))
        assert resample._window.count_scans(data) == data.count(b"\xff\xda")
    assert resample._window.count_scans(scanned(8, 99)) == 99


def test_scans_are_counted_without_the_compiled_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "_window", None)
    with pytest.raises(ImageError, match="JPEG image has 99 scans"):
        open_image(scanned(8000, 99), max_pixels=1 << 30)


def test_scans_count_in_the_strips_of_a_tiff_too() -> None:
    side = 8000
    with pytest.raises(ImageError, match="JPEG image has 99 scans"):
        open_image(scanned(side, 99))
    with pytest.raises(ImageError, match="TIFF image has 99 scans of 8000 x 8000 pixels"):
        open_image(tiff_of_jpeg(scanned(side, 99), side))
    for usual in (scanned(200, 99), tiff_of_jpeg(scanned(200, 99), 200)):
        assert open_image(usual).size == (200, 200)
