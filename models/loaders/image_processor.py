"""The image processor of a model of transformers as a `Preprocess`, and how far the two are apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
from PIL import Image

from pinnace.models.image.decode import open_image
from pinnace.models.image.preprocess import Interpolation, Preprocess
from pinnace.models.photographs import photographs

CLOSE = 1e-6

# By Pillow's own numbers, which `resample` holds.
_FILTERS: dict[int, Interpolation] = {
    Image.Resampling.NEAREST: "nearest",
    Image.Resampling.LANCZOS: "lanczos",
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
    Image.Resampling.BOX: "box",
    Image.Resampling.HAMMING: "hamming",
}
_SIZE_KEYS = ("height", "width", "shortest_edge", "longest_edge")
_UNCROPPED_FROM = 384  # ConvNeXT's processor: smaller images are cropped, others squeezed


def translate(processor: Any) -> Preprocess | None:
    """The same steps as a `Preprocess`, or None where they are of another kind.

    `(pixel * rescale_factor - offset - mean) / std` becomes `(pixel / 255 - mean') / std'`. EfficientNet's
    offset and second division by std are in them.
    """
    size = _sizes(processor)
    if size is None:
        return None
    resize, crop = size
    scale = 255.0 * float(processor.rescale_factor) if _flag(processor, "do_rescale") else 255.0
    offset = 1.0 if _flag(processor, "do_rescale") and _flag(processor, "rescale_offset") else 0.0
    normalised = _flag(processor, "do_normalize")
    mean = _triple(processor.image_mean) if normalised else (0.0,) * 3
    std = _triple(processor.image_std) if normalised else (1.0,) * 3
    divided = _triple(processor.image_std) if _flag(processor, "include_top") else (1.0,) * 3
    return Preprocess(
        resize,
        _FILTERS.get(int(processor.resample if processor.resample is not None else 2), "bilinear"),
        crop,
        "BGR" if _flag(processor, "do_flip_channel_order") else "RGB",
        tuple((value + offset) / scale for value in mean),
        tuple(value * second / scale for value, second in zip(std, divided, strict=True)),
        centre="floor",
    )


def _sizes(processor: Any) -> tuple[int | tuple[int, int] | None, tuple[int, int] | None] | None:
    """The resize and the crop."""
    size, crop = _mapping(processor, "size"), _mapping(processor, "crop_size")
    cropped = None
    if _flag(processor, "do_center_crop"):
        if {"height", "width"} - crop.keys():
            return None
        cropped = (crop["height"], crop["width"])
    if not _flag(processor, "do_resize"):
        return None, cropped
    if {"height", "width"} <= size.keys():
        return (size["height"], size["width"]), cropped
    edge = size.get("shortest_edge")
    if edge is None or "longest_edge" in size:
        return None
    share = getattr(processor, "crop_pct", None)
    if share is not None:
        if edge >= _UNCROPPED_FROM:
            return (edge, edge), cropped
        return int(edge / share), (edge, edge)
    return edge, cropped


def _mapping(processor: Any, name: str) -> dict[str, int]:
    """A size of the processor without what is not set in it."""
    value = getattr(processor, name, None)
    items: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif value is not None:
        items = (
            (key, getattr(value, key, None)) for key in ("height", "width", "shortest_edge", "longest_edge")
        )
    return {key: int(each) for key, each in items if each is not None}


def _flag(processor: Any, name: str) -> bool:
    return bool(getattr(processor, name, False))


def _triple(value: Any) -> tuple[float, ...]:
    return (float(value),) * 3 if isinstance(value, int | float) else tuple(map(float, value))


def distance(processor: Any, preprocess: Preprocess) -> float:
    """The largest difference of what the two make of the photographs, infinite where the shapes differ."""
    most = 0.0
    for path in photographs():
        image = open_image(path).convert("RGB")
        theirs = np.asarray(cast("Any", processor(image, return_tensors="np"))["pixel_values"][0], np.float64)
        ours = preprocess.apply(image).astype(np.float64)
        if theirs.shape != ours.shape:
            return float("inf")
        most = max(most, float(np.abs(theirs - ours).max()))
    return most
