"""How exact each variant is in each runtime: what a judge says of it, and who is out of the race for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pinnace.latency.tuning.space import Excluded, Pair
from pinnace.models.devices import Device


@dataclass(frozen=True)
class Judgement:
    """What a variant in a runtime loses against the reference.

    Attributes:
        variant: which.
        runtime: in which.
        images: how many it was judged by.
        lost: points (hundredths): of top-1 where the images have labels, else of first classes that differ.
        interval: of `lost`, with 95 % confidence.
        labelled: whether the images have labels.
        device: where, as in `Pair`.
    """

    variant: str
    runtime: str
    images: int
    lost: float
    interval: tuple[float, float]
    labelled: bool
    device: Device | None = None

    @property
    def pair(self) -> Pair:
        """What was judged."""
        return Pair(self.variant, self.runtime, self.device)

    def __str__(self) -> str:
        low, high = self.interval
        what = "points of top-1 lost" if self.labelled else "% of first classes differ from fp32"
        return f"{self.lost:.2f} {what} ({low:.2f} to {high:.2f}; {self.images} images)"


# Judges pairs, each once.
Judge = Callable[[Sequence[Pair]], list[Judgement]]


def allowed(judgements: Sequence[Judgement], max_drop: float) -> tuple[list[Pair], list[Excluded]]:
    """Who may race: whoever loses at most so many points, as measured; the interval says how sure that is."""
    pairs, out = [], []
    for each in judgements:
        if each.lost <= max_drop + 1e-9:
            pairs.append(each.pair)
        else:
            reason = f"{each}, and at most {max_drop:g} are allowed"
            out.append(Excluded(str(each.pair), reason))
    return pairs, out
