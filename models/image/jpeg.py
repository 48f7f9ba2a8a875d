"""The window of a JPEG, made of the file itself: no more of it is decoded than the window needs.

By the compiled module alone, with the libjpeg-turbo that Pillow has loaded, so that every bit is Pillow's. A
file that is damaged, and a kind of JPEG that is rare, it leaves to Pillow, which has the say on errors.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, _imaging

from pinnace.models.image import resample
from pinnace.models.image.decode_limits import MeteredBytes
from pinnace.models.image.filters import Interpolation
from pinnace.models.image.resample import Window

AVAILABLE: bool = hasattr(resample._window, "bind") and resample._window.bind(_imaging.__file__)
"""Whether the module was built with libjpeg-turbo's headers, and finds the library that Pillow uses."""


def is_undecoded(image: Image.Image) -> bool:
    """Whether `look_up` may be called: a colour JPEG of `open_image` that nothing has decoded yet."""
    return (
        image.format == "JPEG"
        and image.mode == "RGB"
        and isinstance(getattr(image, "fp", None), MeteredBytes)
        and getattr(image, "tile", None) == [("jpeg", (0, 0, *image.size), 0, ("RGB", ""))]
        and AVAILABLE
    )


def look_up(
    image: Image.Image,
    orientation: int,
    in_size: tuple[int, int],
    size: tuple[int, int],
    window: Window,
    interpolation: Interpolation,
    table: bytes,
) -> npt.NDArray[np.float32] | None:
    """As `resample.resize_and_look_up`, of a JPEG that is not decoded, and is not decoded by this.

    Args:
        image: one of which `is_undecoded` is true.
        orientation: its EXIF orientation, 1 to 8.
        in_size: (height, width) once it is upright.
        size: as there, and so are `window`, `interpolation` and `table`.

    Returns:
        float32, shape (3, window.height, window.width); None where Pillow has to decode the file.
    """
    file = getattr(image, "fp", None)
    if resample._window is None or not isinstance(file, MeteredBytes):
        return None
    if in_size == size or interpolation not in resample.COMPILED:
        return None
    if not resample.compiled_holds(in_size, window):
        return None
    made = resample._window.resize_jpeg(
        file.getvalue(),
        orientation,
        in_size,
        size,
        window,
        interpolation == "bicubic",
        resample.vertical_first(in_size, size),
        table,
    )
    if made is None:
        return None
    return np.frombuffer(made, np.float32).reshape(3, window.height, window.width)
