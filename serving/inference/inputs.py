"""The input of a model as it was received: one image, or a batch of them."""

from __future__ import annotations

from dataclasses import dataclass

from pinnace.models.errors import PinnaceError


@dataclass(frozen=True)
class Upload:
    """One image as it came in.

    Attributes:
        image: the encoded bytes, or base64 text that is still to be decoded.
        top_k: how many classes were asked for, or None.
    """

    image: bytes | str
    top_k: int | None


@dataclass(frozen=True)
class Batch:
    """Several images as they came in.

    Attributes:
        images: the encoded bytes of each, or what is wrong with it already.
        top_k: how many classes were asked for, or None.
    """

    images: tuple[bytes | PinnaceError, ...]
    top_k: int | None
