"""A network as a table of layers, in the way in which Darknet's `.cfg` files describe theirs.

A table is data and needs no torch; `build` makes the module. Layers are counted as Darknet counts them,
from 0 and with every entry of the table, so that references such as `RouteLayer((-1, 61))`
can be read off a `.cfg` file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import torch

# Darknet's: the slope of its leaky ReLU below zero, and what its batch normalisation adds to the variance.
SLOPE = 0.1
EPSILON = 1e-5

# What a new network multiplies the branch of a residual block by. With 1, each of 23 blocks would double the
# variance, and the outputs of untrained networks leave the range of float16.
_BRANCH = 0.5


@dataclass(frozen=True)
class Conv:
    """Convolution, padded by half its size, then batch normalisation and leaky ReLU.

    Attributes:
        filters: channels of the output.
        size: of the square kernel.
        stride: of both axes.
        linear: with a bias, and without normalisation and activation.
    """

    filters: int
    size: int = 3
    stride: int = 1
    linear: bool = False


@dataclass(frozen=True)
class MaxPool:
    """Maximum over 2 x 2; with stride 1 the windows at the right and lower edge are cut."""

    stride: int = 2


@dataclass(frozen=True)
class Shortcut:
    """The previous layer's output plus that of another, counted from here: -3 is three layers before."""

    layer: int = -3


@dataclass(frozen=True)
class RouteLayer:
    """The channels of other layers' outputs, one after the other; negative numbers count from here."""

    layers: tuple[int, ...]


@dataclass(frozen=True)
class Upsample:
    """Each pixel becomes 2 x 2."""


@dataclass(frozen=True)
class Detect:
    """The previous layer's output is one of the network's.

    Its channels are, for each anchor, four numbers of the box, one that there is an object, and one a class;
    all of them raw, before any sigmoid, softmax or exponential.
    """


Layer: TypeAlias = Conv | MaxPool | Shortcut | RouteLayer | Upsample | Detect
Table: TypeAlias = tuple[Layer, ...]


def sources(table: Table, index: int) -> tuple[int, ...]:
    """Which layers' outputs a layer takes, counted from 0; -1 is the image."""
    layer = table[index]
    if isinstance(layer, Shortcut):
        return index - 1, index + layer.layer
    if isinstance(layer, RouteLayer):
        return tuple(index + number if number < 0 else number for number in layer.layers)
    return (index - 1,)


def shapes(table: Table, channels: int = 3) -> tuple[tuple[int, int], ...]:
    """For each layer, the channels of its output, and how many pixels of the image one cell stands for."""
    known: dict[int, tuple[int, int]] = {-1: (channels, 1)}
    for index, layer in enumerate(table):
        taken = [known[source] for source in sources(table, index)]
        width, stride = taken[0]
        if isinstance(layer, Conv):
            width, stride = layer.filters, stride * layer.stride
        elif isinstance(layer, MaxPool):
            stride *= layer.stride
        elif isinstance(layer, RouteLayer):
            width = sum(each for each, _ in taken)
        elif isinstance(layer, Upsample):
            stride //= 2
        known[index] = (width, stride)
    return tuple(known[index] for index in range(len(table)))


def numbers(table: Table, channels: int = 3) -> int:
    """How many numbers a `.weights` file of the network holds: weights, biases, means and variances."""
    widths = [width for width, _ in shapes(table, channels)]
    total = 0
    for index, layer in enumerate(table):
        if isinstance(layer, Conv):
            before = widths[index - 1] if index else channels
            total += layer.filters * (before * layer.size**2 + (1 if layer.linear else 4))
    return total


def build(table: Table, channels: int = 3) -> torch.nn.Module:
    """The network, untrained, as a plain torch module.

    It takes float32 [batch, channels, height, width], with an edge that every stride divides, and gives a
    dictionary: `stride_N`, float32 [batch, anchors x (5 + classes), height / N, width / N], for each `Detect`
    in its order.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    sizes = shapes(table, channels)
    taken_by_others = {
        source
        for index, layer in enumerate(table)
        if isinstance(layer, Shortcut | RouteLayer)
        for source in sources(table, index)
    }

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList()
            for index, layer in enumerate(table):
                before = sizes[index - 1][0] if index else channels
                self.layers.append(_module(layer, before))
                if isinstance(layer, Shortcut):
                    branch: Any = self.layers[index - 1]
                    nn.init.constant_(branch.norm.weight, _BRANCH)

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            kept: dict[int, torch.Tensor] = {}
            answers: dict[str, torch.Tensor] = {}
            now = image
            for index, (layer, module) in enumerate(zip(table, self.layers, strict=True)):
                if isinstance(layer, Detect):
                    answers[f"stride_{sizes[index][1]}"] = now
                elif isinstance(layer, Shortcut):
                    now = now + kept[index + layer.layer]
                elif isinstance(layer, RouteLayer):
                    taken = [kept[source] for source in sources(table, index)]
                    now = taken[0] if len(taken) == 1 else torch.cat(taken, 1)
                else:
                    now = module(now)
                if index in taken_by_others:
                    kept[index] = now
            return answers

    class Convolution(nn.Sequential):
        def __init__(self, layer: Conv, before: int) -> None:
            super().__init__()
            padding = layer.size // 2
            conv = nn.Conv2d(before, layer.filters, layer.size, layer.stride, padding, bias=layer.linear)
            nn.init.kaiming_normal_(conv.weight, SLOPE, nonlinearity="leaky_relu")
            self.add_module("conv", conv)
            if not layer.linear:
                self.add_module("norm", nn.BatchNorm2d(layer.filters, EPSILON))
                self.add_module("activation", nn.LeakyReLU(SLOPE, inplace=True))

    class SameMaxPool(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            # What torch cannot say, padding at the right and below alone, as padding all round, cut off.
            return functional.max_pool2d(image, 2, 1, padding=1)[:, :, 1:, 1:]

    def _module(layer: Layer, before: int) -> nn.Module:
        if isinstance(layer, Conv):
            return Convolution(layer, before)
        if isinstance(layer, MaxPool):
            return nn.MaxPool2d(2, 2) if layer.stride == 2 else SameMaxPool()
        return nn.Upsample(scale_factor=2) if isinstance(layer, Upsample) else nn.Identity()

    return Network()
