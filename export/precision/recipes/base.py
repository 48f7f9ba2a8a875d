"""What a recipe is: a way of finding the integers and the steps of an int8 graph."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pinnace.export.precision import qdq
from pinnace.export.precision.base import ConversionInput
from pinnace.export.precision.gptq import Rounded

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class CalibratedNetwork:
    """What recipes start from.

    Attributes:
        base: the prepared fp32 graph, shapes inferred, with a name for each node.
        ranges: of every tensor on the calibration images; ONNX Runtime's `TensorsData`.
        material: has the calibration images.
        symmetric: activations have zero point 0.
        integers: of every weight, rounded together with those of its filter.
        left_out: nodes that stay in fp32.
    """

    base: onnx.ModelProto
    ranges: Any
    material: ConversionInput
    symmetric: bool
    integers: Rounded = field(default_factory=dict)
    left_out: Collection[str] = ()

    def quantised(self) -> onnx.ModelProto:
        """The QDQ graph, every weight at its nearest step."""
        return qdq.quantise(self.base, self.ranges, self.symmetric, self.left_out)


@dataclass(frozen=True)
class Recipe:
    """One way of quantising.

    Attributes:
        name: as users spell it.
        rank: the lower is tried first, and is taken where two are equally good.
        summary: what it does, in a few words.
        make: gives the int8 graph; None where there is nothing in the network that it could do.
    """

    name: str
    rank: int
    summary: str
    make: Callable[[CalibratedNetwork], onnx.ModelProto | None]
