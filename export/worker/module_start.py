"""How an image enters a network of torch: what happens to it before the first layer that has weights.

The network is run on images of one colour until that layer is reached, and torch's dispatcher says what the
layer was given. That is the same for networks in Python, TorchScript and programs of torch.export.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pinnace.export.worker.graph_start import GraphStart, layout_of, middle, normalisation_of, one_colour
from pinnace.models.bundle.signature import TensorSpec

if TYPE_CHECKING:
    import torch

# Where the network proper begins.
_GROUPS = {"convolution": 8, "_convolution": 8, "conv2d": 6}  # where among the arguments they are
_CONVOLUTIONS = ("convolution", "_convolution", "conv2d", "mkldnn_convolution")
_PRODUCTS = ("linear", "addmm", "mm", "matmul", "bmm")
_BEGINS = (*_CONVOLUTIONS, *_PRODUCTS, "to_mkldnn", "quantize_per_tensor", "quantize_per_channel")

# A program for any number of images was traced with the promise that there is more than one.
_BATCH = 2

_LEVEL = 100.0
_BLUR = 1e-3

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class _Reached:
    """The first layer: what it was given, and whether its weights are made for that many channels."""

    given: Array
    fits: bool


@dataclass(frozen=True)
class _Form:
    """One way in which an image could be given to a network."""

    shape: tuple[int, ...]
    layout: str
    channels: int
    dtype: str

    @property
    def axis(self) -> int | None:
        return {"NCHW": 1, "NHWC": 3, "NHW": None}[self.layout]


class _ReachedError(Exception):
    """The first layer is there, so the others need not be run."""


def read(
    module: torch.nn.Module, specs: Sequence[TensorSpec] | None, size: tuple[int, int]
) -> GraphStart | None:
    """Look at how an image enters a network.

    Where nothing says it, both orders of the dimensions are tried, three channels and one, and at last grey
    images without a dimension for channels: the weights of the first layer are made for one of them only.

    Args:
        module: the network, in eval mode.
        specs: its inputs where they are known; None for one image.
        size: height and width of an image, where the network does not say them.

    Returns:
        None where that cannot be seen.
    """
    if specs is not None and (len(specs) != 1 or len(specs[0].shape) not in (3, 4)):
        return None
    spec = None if specs is None else specs[0]
    dtype = "float32" if spec is None else spec.dtype
    for form in _forms(spec, size, dtype):
        reached = _first_layer(module, form, [0.0] * form.channels)
        if reached is None or not reached.fits or not _is_read(form, reached.given):
            continue
        if spec is None and _tells_bytes_apart(module, form):
            form = replace(form, dtype="uint8")
        return _start(module, form)
    return None


def _forms(spec: TensorSpec | None, size: tuple[int, int], dtype: str) -> Iterator[_Form]:
    seen = None if spec is None or len(spec.shape) == 3 else layout_of(spec, None)
    for channels in (3, 1):
        for layout in (seen,) if seen else ("NCHW", "NHWC"):
            shape = (_BATCH, channels, *size) if layout == "NCHW" else (_BATCH, *size, channels)
            form = _Form(_filled(spec, shape), layout, channels, dtype)
            if form.axis is not None and form.shape[form.axis :][:1] == (channels,):
                yield form
    yield _Form(_filled(spec, (_BATCH, *size)), "NHW", 1, dtype)


def _filled(spec: TensorSpec | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with what an input says of it; an input of another number of dimensions is left alone."""
    said = shape if spec is None else spec.shape
    if len(said) != len(shape):
        return ()
    return tuple(dim if isinstance(dim, int) else own for dim, own in zip(said, shape, strict=True))


def _is_read(form: _Form, given: Array) -> bool:
    """Whether a layer reads each image for itself, where there is no dimension that says so."""
    if form.axis is not None:
        return True
    images, *edges = form.shape
    return given.shape[0] == images and (given.shape[1:2] == (1,) or given.shape[1:] == (math.prod(edges),))


def _start(module: torch.nn.Module, form: _Form) -> GraphStart:
    def given(levels: Sequence[float]) -> npt.NDArray[np.float64]:
        reached = _first_layer(module, form, levels)
        if reached is None:
            raise ValueError("the first layer is not reached")
        return middle(np.asarray(reached.given, np.float64), form.channels)

    inside = None
    with contextlib.suppress(ValueError, IndexError):
        inside = normalisation_of(given, form.channels)
    return GraphStart(form.layout, form.channels, inside, form.dtype, of_torch=True)


def _tells_bytes_apart(module: torch.nn.Module, form: _Form) -> bool:
    """Whether the network does something else to bytes than to floats, as `ToDtype(scale=True)` does."""
    levels = [_LEVEL] * form.channels
    floats = _first_layer(module, form, levels)
    plain = _first_layer(module, replace(form, dtype="uint8"), levels)
    if floats is None or plain is None or plain.given.dtype.kind != "f":
        return False
    one, other = (np.asarray(each.given, np.float64) for each in (floats, plain))
    return one.shape == other.shape and not np.allclose(one, other, rtol=_BLUR, atol=_BLUR)


def _first_layer(module: torch.nn.Module, form: _Form, levels: Sequence[float]) -> _Reached | None:
    """Run a network on one colour up to the first layer with weights; None where none is reached."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    image = torch.from_numpy(one_colour(form.shape, form.axis, levels, form.dtype))
    found: list[_Reached] = []
    made = _Made(image)

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            name = func.__name__.partition(".")[0]
            tensors = [value for value in args if isinstance(value, torch.Tensor)]
            place = next((index for index, tensor in enumerate(tensors) if made.has(tensor)), None)
            if name in _BEGINS and place is not None:
                weights = next((other for other in tensors[place + 1 :]), None)
                place_of_groups = _GROUPS.get(name, len(args))
                groups = args[place_of_groups] if place_of_groups < len(args) else 1
                found.append(_reached(name, tensors[place], weights, groups))
                raise _ReachedError
            result = func(*args, **(kwargs or {}))
            if place is not None or any(map(made.has_any, args)):
                made.add(result)
            return result

    # What a fused part of TorchScript does is not dispatched.
    unfused = torch.jit.optimized_execution(False)  # type: ignore[attr-defined]
    watch = Watch()  # type: ignore[no-untyped-call]
    with torch.no_grad(), unfused, contextlib.suppress(Exception), watch:
        module(image)
    return found[0] if found else None


def _reached(name: str, given: torch.Tensor, weights: torch.Tensor | None, groups: int) -> _Reached:
    array: Array = given.detach().numpy().copy()
    if weights is None:
        return _Reached(array, fits=True)
    if name in _CONVOLUTIONS:
        return _Reached(array, given.ndim == 4 and given.shape[1] == weights.shape[1] * groups)
    rows = weights.shape[-1] if name == "linear" else weights.shape[-2]
    return _Reached(array, given.shape[-1] == rows)


class _Made:
    """The tensors that were made of the image, by the memory that they are in."""

    def __init__(self, image: torch.Tensor) -> None:
        self._places: set[int] = set()
        self._kept: list[torch.Tensor] = []  # so that no memory is used a second time
        self.add(image)

    def add(self, value: Any) -> None:
        import torch

        for tensor in value if isinstance(value, tuple | list) else (value,):
            if isinstance(tensor, torch.Tensor):
                self._kept.append(tensor)
                self._places.add(tensor.untyped_storage().data_ptr())

    def has(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._places

    def has_any(self, value: Any) -> bool:
        import torch

        return isinstance(value, tuple | list) and any(
            isinstance(each, torch.Tensor) and self.has(each) for each in value
        )
