"""What a row of a report is made of."""

from __future__ import annotations

from dataclasses import dataclass

from pinnace.latency.device.types import DeviceSample


@dataclass(frozen=True)
class Caveat:
    """A warning about the figures.

    Attributes:
        code: which kind: `throttled`, `clock-dropped`, `governor`, `other-load`, `variation`, `threads`,
            `provider`, `warm-up`, `errors`, `bound`, `skipped`, `loadgen`, `connection`, `interrupted`.
        message: one sentence.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Samples:
    """Every single latency, in the order in which the queries were scheduled.

    Attributes:
        start_s: when each query was due, in seconds since the measurement began.
        latency_ms: how long each took from then on.
    """

    start_s: tuple[float, ...] = ()
    latency_ms: tuple[float, ...] = ()


@dataclass(frozen=True)
class Stages:
    """Median milliseconds of the parts of one query; None where a part does not exist or cannot be timed.

    Attributes:
        decode: from encoded bytes to pixels; of a JPEG whose window alone is decoded, reading its header.
        preprocess: from there to the model's input.
        compute: the network, with the transfers to and from a GPU.
    """

    decode: float | None = None
    preprocess: float | None = None
    compute: float | None = None


@dataclass(frozen=True)
class Bound:
    """The early-stopping estimate of MLPerf's LoadGen.

    Attributes:
        percentile: such as 99.
        ms: the true percentile lies below this with 99 % confidence; None where there are too few queries.
        needed: the fewest queries for which there is a bound.
    """

    percentile: float
    ms: float | None
    needed: int


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as the baseline, taken within rounds in which both were timed.

    Attributes:
        baseline: the row that has the ratio 1, as `VARIANT RUNTIME`.
        median: over the rounds, of the baseline's median latency divided by this one's; 2 is twice as fast.
        p10: 10th percentile over the rounds.
        p90: 90th percentile over the rounds.
        rounds: how many.
    """

    baseline: str
    median: float
    p10: float
    p90: float
    rounds: int


@dataclass(frozen=True)
class Round:
    """One of the times that a row was timed.

    Attributes:
        start_s: seconds since the measurement began.
        queries: how many were timed.
        p50_ms: their median latency.
    """

    start_s: float
    queries: int
    p50_ms: float


@dataclass(frozen=True)
class RatePoint:
    """What was measured at one rate of arrivals.

    Attributes:
        rate: images a second that were due.
        achieved: images a second that were answered.
        p50_ms: median latency, from the moment a query was due.
        p99_ms: 99th percentile.
        queries: how many were due.
        errors: how many had no answer.
        valid: whether the latency bound held and nothing failed.
    """

    rate: float
    achieved: float
    p50_ms: float
    p99_ms: float
    queries: int
    errors: int
    valid: bool


@dataclass(frozen=True)
class WarmUp:
    """What ran before anything was timed.

    Attributes:
        seconds: how long.
        windows: median milliseconds of each window of queries, in order.
        stable: whether the last three windows lie within 10 % of each other.
    """

    seconds: float
    windows: tuple[float, ...]
    stable: bool


@dataclass(frozen=True)
class State:
    """The machine's clocks, temperatures and load around the measurement.

    Attributes:
        before: just before the first query, or None where it was not sampled.
        timeline: while it was measured.
        after: just after the last query.
    """

    before: DeviceSample | None = None
    timeline: tuple[DeviceSample, ...] = ()
    after: DeviceSample | None = None
