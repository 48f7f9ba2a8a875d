"""The input of a model as it was received: one image, or a batch of them."""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from pinnace.models.bundle.outputs import Function
from pinnace.models.errors import ImageError, PinnaceError
from pinnace.models.image.decode import open_image
from pinnace.serving.inference.admission import Admission

# An encoded image, its base64 text, or the model's input for one image, shape (1, ...).
Item: TypeAlias = "bytes | str | npt.NDArray[np.generic]"

_NOT_BLANK = str.maketrans("", "", " \t\r\n")


@dataclass(frozen=True)
class Upload:
    """One image as it came in.

    Attributes:
        image: the encoded bytes, or base64 text that is still to be decoded.
        top_k: how many classes were asked for, or None.
        threshold: from which score on a label counts as true, or None for the model's own.
        function: what is to make scores of the output, or None for what the bundle says.
    """

    image: bytes | str
    top_k: int | None = None
    threshold: float | None = None
    function: Function | None = None


@dataclass(frozen=True)
class Batch:
    """Several images as they came in.

    Attributes:
        images: the encoded bytes of each, or what is wrong with it already.
        top_k: how many classes were asked for, or None.
        threshold: from which score on a label counts as true, or None for the model's own.
    """

    images: tuple[bytes | PinnaceError, ...]
    top_k: int | None = None
    threshold: float | None = None


def decode_base64(text: str) -> bytes:
    """The bytes that base64 text stands for.

    Raises:
        ImageError: it is not base64.
    """
    try:
        # `base64 cat.jpg` wraps its lines; anything else that is not of the alphabet is a mistake.
        return base64.b64decode(text.translate(_NOT_BLANK), validate=True)
    except (binascii.Error, ValueError):
        raise ImageError(
            "the image is not base64", hint="send the base64 text alone, without a data: prefix"
        ) from None


@contextlib.contextmanager
def decoded(image: bytes | str, admission: Admission, max_pixels: int) -> Iterator[Image.Image]:
    """An image, all of it decoded; its memory is accounted for until the end of the `with` statement.

    Args:
        image: an encoded image, or its base64 text.
        admission: who accounts for it.
        max_pixels: the most that it may have.

    Raises:
        ImageError: it cannot be read.
        Overloaded: other images leave no room.
    """
    data = decode_base64(image) if isinstance(image, str) else image
    with admission.decoding() as reserve:
        yield open_image(data, max_pixels=max_pixels, reserve=reserve)
