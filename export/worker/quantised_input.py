"""Images for an input of int8, as quantised networks that were converted from TensorFlow Lite have it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pinnace.models.image.preprocess import UNIT, Preprocess

_LOWEST, _HIGHEST = -128, 127

# A range that was found by calibration ends a little beside the round number that was meant.
_OFF = 0.02

# What ImageNet's mean and deviation make of black and of white, in the channels where that is least and most.
_IMAGENET_LOW, _IMAGENET_HIGH = (-2.2, -1.7), (2.2, 2.7)


@dataclass(frozen=True)
class InputQuantisation:
    """What an integer q stands for: `scale * (q - zero_point)`."""

    scale: float
    zero_point: int

    @property
    def low(self) -> float:
        """What the lowest integer stands for."""
        return self.scale * (_LOWEST - self.zero_point)

    @property
    def high(self) -> float:
        """What the highest integer stands for."""
        return self.scale * (_HIGHEST - self.zero_point)

    def __str__(self) -> str:
        return f"scale {self.scale:.6g} and zero point {self.zero_point}"


def customary(base: Preprocess, quantised: InputQuantisation | None) -> tuple[Preprocess, str]:
    """The normalisation that an input's range shows, before it is quantised; and a sentence about it.

    Args:
        base: what else an image goes through.
        quantised: what the integers stand for; None where the graph does not say it.
    """
    ones = (1.0,) * base.channels
    if quantised is None:
        return (
            replace(base, scale=1.0, mean=(128.0,) * base.channels, std=ones),
            "the input is int8, and the graph does not say what its numbers stand for: a pixel of 0..255 is "
            "given as pixel - 128; --scale, --mean and --std say otherwise",
        )
    low, high = quantised.low, quantised.high
    said = f"the input is int8 with {quantised}, which stand for {low:.4g} to {high:.4g}"
    for bottom, top, scale, mean in ((0, 1, UNIT, 0.0), (-1, 1, 1 / 127.5, 1.0), (0, 255, 1.0, 0.0)):
        off = _OFF * (top - bottom)
        if abs(low - bottom) <= off and abs(high - top) <= off:
            made = replace(base, scale=scale, mean=(mean,) * base.channels, std=ones)
            return made, f"{said}: pixels are brought to {bottom}..{top} and rounded to those steps"
    if _within(low, _IMAGENET_LOW) and _within(high, _IMAGENET_HIGH) and base.channels == 3:
        mean3, std3 = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        made = replace(base, scale=UNIT, mean=mean3, std=std3)
        return made, (
            f"{said}: ImageNet's mean and std are assumed, and the result is rounded to those steps; "
            "--scale, --mean and --std say otherwise"
        )
    step = 255 / (high - low)
    made = replace(base, scale=1.0, mean=(-low * step,) * base.channels, std=(step,) * base.channels)
    return made, (
        f"{said}: it is assumed that black is the lowest and white the highest of them; --scale, --mean and "
        "--std say otherwise"
    )


def folded(preprocess: Preprocess, quantised: InputQuantisation | None) -> Preprocess:
    """The same with the quantisation in mean and std, so that rounding its result gives the integers."""
    if quantised is None:
        return replace(preprocess, dtype="int8")
    step, zero = quantised.scale, quantised.zero_point
    pairs = list(zip(preprocess.mean, preprocess.std, strict=True))
    return replace(
        preprocess,
        mean=_short(mean - zero * step * std for mean, std in pairs),
        std=_short(std * step for _, std in pairs),
        dtype="int8",
    )


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]


def _short(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(f"{value:.9g}") for value in values)
