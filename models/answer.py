"""What a classifier answers. Needs nothing but the standard library, so that a thin client can use it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """One class of an answer.

    Attributes:
        label: the class's name.
        index: its position in the model's output.
        probability: softmax probability, 0 to 1.
    """

    label: str
    index: int
    probability: float


@dataclass(frozen=True)
class Timing:
    """Where the time of one answer went, in milliseconds.

    Attributes:
        decode: from bytes to pixels.
        preprocess: resize, crop, normalise.
        queue: waiting for the model.
        infer: executing the model.
        total: from the first byte at hand to the answer.
    """

    decode: float
    preprocess: float
    queue: float
    infer: float
    total: float


@dataclass(frozen=True)
class Answer:
    """What a classifier says of one image.

    Attributes:
        model: the model's name.
        variant: which variant of its bundle answered.
        runtime: what executed it.
        predictions: the most probable class first.
        timing_ms: where the time went.
        version: which version of the bundle; see `Bundle`. Empty where nobody said.
    """

    model: str
    variant: str
    runtime: str
    predictions: tuple[Prediction, ...]
    timing_ms: Timing
    version: str = ""
