"""AVIF and HEIC, which are both pictures in boxes: told apart, and what reads them."""

from __future__ import annotations

import functools

from pinnace.models.errors import UnsupportedImage

BOXED = ("AVIF", "HEIF")
"""Pillow's names of the types; a HEIC is a HEIF of HEVC."""

_BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIF": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
}


def boxed_format(prefix: bytes) -> str | None:
    """Which of the two a file is that begins like this, by the brands of its first box; None for others.

    Args:
        prefix: 64 bytes or so: more brands than that are not looked at.
    """
    if prefix[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(prefix[:4], "big"), len(prefix))
    brands = [prefix[8:12], *(prefix[at : at + 4] for at in range(16, end - 3, 4))]
    for brand in brands:  # the first one is what it is best read as
        for name, known in _BRANDS.items():
            if brand in known:
                return name
    return None


@functools.cache
def ensure_reader(name: str) -> None:
    """Have Pillow read files of the type; Pillow itself does, or a package that is an extra.

    Raises:
        UnsupportedImage: neither does here.
    """
    if name == "AVIF":
        try:
            from PIL import AvifImagePlugin
        except ImportError:
            supported = False
        else:
            supported = AvifImagePlugin.SUPPORTED
        if not supported:
            raise UnsupportedImage("this Pillow cannot read AVIF images", hint="pip install 'pillow>=12'")
        return
    try:
        import pillow_heif
    except ImportError:
        raise UnsupportedImage(
            "HEIC images are read by a package that is not installed here", hint="pip install pillow-heif"
        ) from None
    # One thread an image, as for all others, and of the file only the picture.
    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
