"""One trial: a configuration at work for a short time, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from pinnace.latency.statistics import percentile
from pinnace.models.profile import Configuration

Objective: TypeAlias = Literal["throughput", "latency", "energy"]


@dataclass(frozen=True)
class Trial:
    """What a configuration did in one round.

    Attributes:
        round: which one, from 0.
        seconds: how long it worked.
        images: how many images were answered.
        calls_ms: how long each call took, in milliseconds, in the order in which they ended.
        joules: what the machine drew meanwhile, where a sensor says.
    """

    round: int
    seconds: float
    images: int
    calls_ms: tuple[float, ...]
    joules: float | None = None

    def score(self, objective: Objective) -> float:
        """What is to be high: images a second, calls a second of one caller, images a joule."""
        if objective == "throughput":
            return self.images / self.seconds
        if objective == "latency":
            return 1000 / percentile(sorted(self.calls_ms), 50)
        assert self.joules is not None
        return self.images / max(self.joules, 1e-9)


class Measurer(Protocol):
    """Lets configurations work, on this machine or an invented one."""

    def measure(self, configuration: Configuration, turn: int, seconds: float) -> Trial:
        """Let one work for about so many seconds; at least one call is made.

        Raises:
            PinnaceError: it cannot run.
        """

    def release(self, configuration: Configuration) -> None:
        """Free what one holds: it is not measured again."""
