"""What a row of a report is made of."""

from __future__ import annotations

from dataclasses import dataclass

from pinnace.latency.device.types import DeviceSample


@dataclass(frozen=True)
class Caveat:
    """A warning about the figures.

    Attributes:
        code: which kind: `throttled`, `clock-dropped`, `governor`, `other-load`, `variation`, `threads`,
            `provider`, `warm-up`, `errors`, `bound`, `skipped`, `loadgen`, `connection`, `interrupted`,
            `sustained`, `energy`, `battery`, `supply`, `accuracy`.
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
        median: over the rounds, of the baseline's median latency of an image divided by this one's; 2 is
            twice as fast.
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


@dataclass(frozen=True)
class Start:
    """One start in a fresh process, in milliseconds.

    Attributes:
        process_ms: from when the process was made until Python and Pinnace were ready.
        load_ms: from there until the runtime was imported and the variant loaded, its hash checked.
        first_ms: the first call.
        warm_ms: the median of the twenty calls after it.
        answer_ms: from when the process was made until the first answer.
    """

    process_ms: float
    load_ms: float
    first_ms: float
    warm_ms: float
    answer_ms: float


@dataclass(frozen=True)
class ColdStart:
    """The starts of one variant in one runtime; each figure is the median of theirs.

    Attributes:
        cache: what happened to the page cache before each start.
        process_ms: see `Start`, as for the others.
        load_ms: likewise.
        first_ms: likewise.
        warm_ms: likewise.
        answer_ms: likewise.
        starts: each start, in order.
    """

    cache: str
    process_ms: float
    load_ms: float
    first_ms: float
    warm_ms: float
    answer_ms: float
    starts: tuple[Start, ...] = ()


@dataclass(frozen=True)
class Memory:
    """The memory of a fresh process that has loaded the variant and called it, in bytes.

    Attributes:
        peak_bytes: the most that was in memory at any time (VmHWM).
        resident_bytes: in memory after the calls, shared pages whole (VmRSS).
        pss_bytes: the same, with a page that n processes share counted as one n-th (PSS), or None where the
            system does not say.
        before_bytes: resident before the runtime was imported: Python, NumPy and Pinnace.
    """

    peak_bytes: int
    resident_bytes: int
    pss_bytes: int | None
    before_bytes: int


@dataclass(frozen=True)
class EnergyUse:
    """What one sensor counted while a row was timed.

    Attributes:
        sensor: its name.
        covers: what it measures, in words.
        joules: in all.
        seconds: of all runs.
        images: that were answered meanwhile.
        idle_w: mean power of the idle machine, before anything was loaded.
        image_j: joules an image.
        image_above_idle_j: the same without what the idle machine would have drawn in that time.
        images_a_joule: the first upside down.
    """

    sensor: str
    covers: str
    joules: float
    seconds: float
    images: int
    idle_w: float
    image_j: float
    image_above_idle_j: float
    images_a_joule: float


@dataclass(frozen=True)
class SoakWindow:
    """A part of a soak; what the machine does not say is None.

    Attributes:
        start_s: since the first query.
        throughput: images a second of the queries that began in it.
        p50_ms: their median latency.
        cpu_mhz: mean clock of the CPU.
        gpu_mhz: mean clock of the GPU.
        hottest_c: the highest temperature of any sensor.
    """

    start_s: float
    throughput: float
    p50_ms: float
    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    hottest_c: float | None = None


@dataclass(frozen=True)
class ThrottlePoint:
    """The moment from which clocks were held down.

    Attributes:
        seconds: since the first query.
        reason: what the system reports, or which clock fell, and how far.
    """

    seconds: float
    reason: str


@dataclass(frozen=True)
class Soak:
    """A row in the long run.

    Attributes:
        seconds: how long.
        span_s: of the beginning and of the end that are compared: a minute, or a fifth of a short soak.
        first: images a second in the first span.
        last: in the last.
        ratio: `last / first`.
        throttling: when clocks began to be held down; None where no sensor says so.
        windows: throughput over time.
    """

    seconds: float
    span_s: float
    first: float
    last: float
    ratio: float
    throttling: ThrottlePoint | None
    windows: tuple[SoakWindow, ...]
