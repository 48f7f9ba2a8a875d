"""What a model answers. Needs nothing but the standard library, so that a thin client can use it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """One class of an answer.

    Attributes:
        label: the class's name.
        index: its position in the model's output.
        probability: its score, 0 to 1: a probability where one class is true, a sigmoid score where several
            labels may be.
        above_threshold: whether the score reaches the threshold; None where one class is true.
    """

    label: str
    index: int
    probability: float
    above_threshold: bool | None = None


@dataclass(frozen=True)
class Timing:
    """Where the time of one answer went, in milliseconds.

    Attributes:
        decode: from bytes to pixels; of a JPEG whose window alone is decoded, reading its header.
        preprocess: resize, crop, normalise; and decoding such a window.
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
        threshold: from which score on a label counts as true, where several may be; else None.
    """

    model: str
    variant: str
    runtime: str
    predictions: tuple[Prediction, ...]
    timing_ms: Timing
    version: str = ""
    threshold: float | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """What is true of the image: every label that reaches the threshold, or the most probable class."""
        if self.threshold is None:
            return tuple(prediction.label for prediction in self.predictions[:1])
        return tuple(prediction.label for prediction in self.predictions if prediction.above_threshold)


@dataclass(frozen=True)
class Embedding:
    """The vector that a network without a head gives for one image.

    Attributes:
        model: the model's name.
        variant: which variant of its bundle answered.
        runtime: what executed it.
        embedding: the vector.
        normalised: whether its Euclidean norm is 1.
        timing_ms: where the time went.
        version: which version of the bundle; see `Bundle`. Empty where nobody said.
    """

    model: str
    variant: str
    runtime: str
    embedding: tuple[float, ...]
    normalised: bool
    timing_ms: Timing
    version: str = ""
