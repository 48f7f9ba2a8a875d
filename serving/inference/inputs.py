"""The input of a model as it was received: one image, or a batch of them."""

from __future__ import annotations

from dataclasses import dataclass

from pinnace.models.bundle.outputs import Function
from pinnace.models.errors import PinnaceError


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
