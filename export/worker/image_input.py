"""How an image becomes a model's input: what its source, its file and the user say, and what is assumed."""

from __future__ import annotations

from dataclasses import replace
from typing import cast, get_args

from pinnace.export import assumptions
from pinnace.export.assumptions import Inside
from pinnace.export.preprocessing import Changes
from pinnace.export.request import ExportRequest
from pinnace.export.worker import quantised_input
from pinnace.export.worker.graph_start import GraphStart, layout_of
from pinnace.models.bundle.signature import BATCH, TensorSpec
from pinnace.models.errors import UsageError
from pinnace.models.image.preprocess import PIXELS, UNIT, ColorMode, InputDtype, Layout, Preprocess
from pinnace.models.loaders.base import imagenet_preprocess, resize_to

KERAS = "Keras"

_IMAGE_CHANNELS = (1, 3)

# A mean or a deviation, on a scale of 0..1, that is taken for another.
_CLOSE = 0.005


def takes_an_image(specs: tuple[TensorSpec, ...], start: GraphStart | None) -> bool:
    """Whether inputs are one image: four dimensions, one or three channels, numbers that pixels become.

    Three dimensions are one where the network is seen to take them for a grey image.
    """
    (spec, *others) = specs
    if others or spec.dtype not in get_args(InputDtype):
        return False
    if len(spec.shape) == 3:
        return start is not None and start.layout == "NHW"
    return len(spec.shape) == 4 and _channels(spec, start) in _IMAGE_CHANNELS


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
    if base is not None and inside is not None and _same(base, inside):
        base = _pixels(base, inside)
    if base is None:
        base = _customary(spec, start)
        assumed_for = KERAS if _as_in_keras(spec, start) else None
        if spec is not None and (spec.dtype in PIXELS or (inside is not None and inside.takes is not None)):
            left = tuple(name for name in left if name not in ("mean", "std"))
        if _has_size(spec, start):
            left = tuple("resize" if name == "size" else name for name in left)
    quantised = None if start is None else start.quantised
    notes: list[str] = []
    if spec is not None and spec.dtype == "int8":
        left = tuple(name for name in left if name not in ("mean", "std"))
        if known is None:
            base, note = quantised_input.customary(base, quantised)
            notes = [note]
        base = replace(base, layout=_layout(spec, start))
    elif spec is not None:
        base = _for_input(base, spec, start)
    preprocess = request.changes.apply(base)
    if request.input_size is not None:
        preprocess = resize_to(preprocess, request.input_size)
    if left:
        notes.insert(0, assumptions.assumed(preprocess, left, assumed_for))
    notes += assumptions.remarks(request.changes, preprocess, inside)
    if spec is not None and spec.dtype == "int8":
        preprocess = quantised_input.folded(preprocess, quantised)
    return preprocess, tuple(notes)


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

    Where the channels of an ONNX file come last it is that of Keras: squeezed into the size, and -1..1. A
    model that normalises its images itself is given their pixels.
    """
    preprocess = imagenet_preprocess()
    if spec is None:
        return preprocess
    height, width = _edges(spec, start)
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    if _as_in_keras(spec, start):
        halves = (0.5,) * preprocess.channels
        size = size or size_of(preprocess)
        preprocess = replace(preprocess, layout="NHWC", resize=size, crop=None, mean=halves, std=halves)
    elif size is not None:
        preprocess = resize_to(preprocess, size)
    if _channels(spec, start) == 1:
        preprocess = Changes(color="L").apply(preprocess)
    inside = None if start is None else start.inside
    if inside is not None and inside.takes is not None:
        return _pixels(preprocess, inside)
    return preprocess


def _pixels(preprocess: Preprocess, inside: Inside) -> Preprocess:
    """The same without a normalisation, because the model has one itself."""
    plain = Changes(
        scale=1.0 if inside.takes == 255 else UNIT,
        color=cast("ColorMode | None", inside.color),
        mean=(0.0,) * preprocess.channels,
        std=(1.0,) * preprocess.channels,
    )
    return plain.apply(preprocess)


def _same(preprocess: Preprocess, inside: Inside) -> bool:
    """Whether the model does itself what a preprocessing does: then the two are one and the same."""
    if inside.takes is None or preprocess.scale != UNIT or len(inside.mean) != preprocess.channels:
        return False
    ours = (*preprocess.mean, *preprocess.std)
    return any(ours) and all(
        abs(one - other / inside.takes) <= _CLOSE
        for one, other in zip(ours, (*inside.mean, *inside.std), strict=True)
    )


def _as_in_keras(spec: TensorSpec | None, start: GraphStart | None) -> bool:
    return spec is not None and _layout(spec, start) == "NHWC" and not (start is not None and start.of_torch)


def spec_of(start: GraphStart | None) -> TensorSpec | None:
    """The input of a network that does not say it itself; None where it is not seen to take an image."""
    if start is None or start.channels not in _IMAGE_CHANNELS:
        return None
    edges: tuple[int | str, ...] = ("height", "width")
    dims = {"NCHW": (start.channels, *edges), "NHWC": (*edges, start.channels), "NHW": edges}[start.layout]
    return TensorSpec("input", start.dtype or "float32", (BATCH, *dims))


def _for_input(base: Preprocess, spec: TensorSpec, start: GraphStart | None) -> Preprocess:
    """The same in the layout and the dtype of an input; whole numbers are the pixels as they are."""
    dtype = cast("InputDtype", spec.dtype)
    if dtype in PIXELS:
        zeros, ones = (0.0,) * base.channels, (1.0,) * base.channels
        base = replace(base, scale=1.0, mean=zeros, std=ones)
    return replace(base, layout=_layout(spec, start), dtype=dtype)
