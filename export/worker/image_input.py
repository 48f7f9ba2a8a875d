"""How an image becomes a model's input: what its source, its file and the user say, and what is assumed."""

from __future__ import annotations

from dataclasses import replace
from typing import cast, get_args

from pinnace.export import assumptions
from pinnace.export.preprocessing import Changes
from pinnace.export.request import ExportRequest
from pinnace.export.worker.graph_start import GraphStart, layout_of
from pinnace.models.bundle.signature import TensorSpec
from pinnace.models.errors import UsageError
from pinnace.models.image.preprocess import UNIT, ColorMode, InputDtype, Layout, Preprocess
from pinnace.models.loaders.base import imagenet_preprocess, resize_to

KERAS = "Keras"


def takes_an_image(specs: tuple[TensorSpec, ...], start: GraphStart | None) -> bool:
    """Whether inputs are one image: four dimensions, one or three channels, numbers that pixels become."""
    (spec, *others) = specs
    if others or len(spec.shape) != 4 or spec.dtype not in get_args(InputDtype):
        return False
    channels = _channels(spec, start)
    return channels in (1, 3)


def decide(
    known: Preprocess | None,
    assumed_for: str | None,
    request: ExportRequest,
    spec: TensorSpec | None,
    start: GraphStart | None,
) -> tuple[Preprocess, tuple[str, ...]]:
    """The preprocessing of an image model, and sentences about what was assumed and what looks wrong.

    Args:
        known: what comes with the source.
        assumed_for: whose it is, where the source itself does not say it.
        request: what the user says.
        spec: the input, where it is known.
        start: how an image enters the graph, where that is known.

    Raises:
        UsageError: what was said does not fit together.
    """
    inside = None if start is None else start.inside
    base = known
    left: tuple[str, ...] = ()
    if base is None or assumed_for is not None:
        left = request.changes.left
        if request.input_size is not None:
            left = tuple(name for name in left if name != "size")
    if base is None:
        base = _customary(spec, start)
        assumed_for = KERAS if base.layout == "NHWC" else None
        if spec is not None and (spec.dtype == "uint8" or (inside is not None and inside.takes is not None)):
            left = tuple(name for name in left if name not in ("mean", "std"))
        if _has_size(spec, start):
            left = tuple("resize" if name == "size" else name for name in left)
    if spec is not None:
        base = _for_input(base, spec, start)
    preprocess = request.changes.apply(base)
    if request.input_size is not None:
        preprocess = resize_to(preprocess, request.input_size)
    notes = [assumptions.assumed(preprocess, left, assumed_for)] if left else []
    return preprocess, (*notes, *assumptions.remarks(request.changes, preprocess, inside))


def size_of(preprocess: Preprocess) -> tuple[int, int]:
    """Height and width of what a preprocessing makes.

    Raises:
        UsageError: it makes images of no fixed size.
    """
    size = preprocess.crop or preprocess.resize
    if not isinstance(size, tuple):
        raise UsageError(
            "the preprocessing gives images of no fixed size", hint="give it a crop, or an exact resize"
        )
    return size


def _channels(spec: TensorSpec, start: GraphStart | None) -> int | None:
    if start is not None:
        return start.channels
    said = spec.shape[1 if layout_of(spec, None) == "NCHW" else 3]
    return said if isinstance(said, int) else None


def _edges(spec: TensorSpec, start: GraphStart | None) -> tuple[int | str, ...]:
    return spec.shape[2:] if _layout(spec, start) == "NCHW" else spec.shape[1:3]


def _layout(spec: TensorSpec, start: GraphStart | None) -> Layout:
    return cast("Layout", (layout_of(spec, None) or "NCHW") if start is None else start.layout)


def _has_size(spec: TensorSpec | None, start: GraphStart | None) -> bool:
    return spec is not None and all(isinstance(edge, int) for edge in _edges(spec, start))


def _customary(spec: TensorSpec | None, start: GraphStart | None) -> Preprocess:
    """ImageNet's preprocessing, for the size and the channels that a model is known to take.

    Where the channels come last it is that of Keras: squeezed into the size, and -1..1. A model that
    normalises its images itself is given their pixels.
    """
    preprocess = imagenet_preprocess()
    if spec is None:
        return preprocess
    height, width = _edges(spec, start)
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    if _layout(spec, start) == "NHWC":
        halves = (0.5,) * preprocess.channels
        size = size or size_of(preprocess)
        preprocess = replace(preprocess, layout="NHWC", resize=size, crop=None, mean=halves, std=halves)
    elif size is not None:
        preprocess = resize_to(preprocess, size)
    if _channels(spec, start) == 1:
        preprocess = Changes(color="L").apply(preprocess)
    inside = None if start is None else start.inside
    if inside is not None and inside.takes is not None:
        plain = Changes(
            scale=1.0 if inside.takes == 255 else UNIT,
            color=cast("ColorMode | None", inside.color),
            mean=(0.0,) * preprocess.channels,
            std=(1.0,) * preprocess.channels,
        )
        preprocess = plain.apply(preprocess)
    return preprocess


def _for_input(base: Preprocess, spec: TensorSpec, start: GraphStart | None) -> Preprocess:
    """The same in the layout and the dtype of an input; uint8 takes the pixels as they are."""
    dtype = cast("InputDtype", spec.dtype)
    if dtype == "uint8":
        zeros, ones = (0.0,) * base.channels, (1.0,) * base.channels
        base = replace(base, scale=1.0, mean=zeros, std=ones)
    return replace(base, layout=_layout(spec, start), dtype=dtype)
