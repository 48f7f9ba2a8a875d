"""What a bench reports: one `LatencyReport`, as JSON with a published schema.

`docs/latency-report.schema.json` is made from these types by `docs/make_report_schema.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pinnace.latency.device.types import DeviceInfo, DeviceSample
from pinnace.models.errors import UsageError

SCHEMA_VERSION = 1


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


@dataclass(frozen=True)
class Result:
    """One row: one variant in one runtime, or one URL, under one scenario.

    Attributes:
        model: the model's name.
        source: what it was exported from, or the URL of the server.
        variant: such as `onnx-fp32`; `eager` for the network in torch.
        runtime: such as `onnxruntime`.
        provider: what executed the network, as the runtime itself reports it.
        precision: such as `fp32`.
        device: `cpu` or `cuda`; `remote` behind a URL.
        threads: CPU threads of one call; None behind a URL.
        batch: images of one call.
        scenario: `single-stream`, `multi-stream`, `server` or `offline`.
        timed: `infer`, the call alone, with the transfers to and from a GPU; `end-to-end`, from encoded
            bytes; `http`, a request, from the moment it was due.
        input: shape of each input, by name; of the images as they were sent, behind a URL.
        p50_ms: median latency of a query.
        p90_ms: 90th percentile. Every percentile is a latency that was measured, the one of nearest rank.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile.
        mean_ms: mean.
        min_ms: shortest.
        max_ms: longest.
        std_ms: standard deviation.
        cv: coefficient of variation, the standard deviation divided by the mean.
        throughput: images a second.
        samples: how many queries were timed; all of them count.
        duration_s: from the first query to the end of the last.
        loadgen: what made the load, `mlcommons-loadgen 6.0.17` or `pinnace`.
        errors: queries that had no answer.
        early_stopping: bounds beside the percentiles.
        latencies: every query.
        stages: medians of the parts.
        ratio: to the baseline, where several rows were timed in alternation.
        rounds: each time that the row was timed.
        rates: of the server scenario, each rate that was tried.
        warm_up: what ran before.
        state: of the machine.
        warnings: about this row.
    """

    model: str
    source: str
    variant: str
    runtime: str
    provider: str
    precision: str
    device: str
    threads: int | None
    batch: int
    scenario: str
    timed: str
    input: dict[str, tuple[int, ...]]
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float
    max_ms: float
    std_ms: float
    cv: float
    throughput: float
    samples: int
    duration_s: float
    loadgen: str
    errors: int = 0
    early_stopping: tuple[Bound, ...] = ()
    latencies: Samples = field(default_factory=Samples)
    stages: Stages = field(default_factory=Stages)
    ratio: Ratio | None = None
    rounds: tuple[Round, ...] = ()
    rates: tuple[RatePoint, ...] = ()
    warm_up: WarmUp | None = None
    state: State = field(default_factory=State)
    warnings: tuple[Caveat, ...] = ()

    @property
    def row(self) -> str:
        """What tells it from the other rows of a scenario, as a person reads it."""
        return f"{self.variant} {self.runtime}".strip()


@dataclass(frozen=True)
class Failure:
    """A row of a suite that has no figures.

    Attributes:
        model: the row's name.
        scenario: which one failed; None where the model could not be had at all.
        message: why.
    """

    model: str
    scenario: str | None
    message: str


@dataclass(frozen=True)
class BenchSettings:
    """The settings of a bench.

    Attributes:
        target: the bundle or URL as it was given.
        scenarios: in the order in which they ran.
        duration_s: at least this long for each row.
        min_queries: at least so many for each row.
        seed: of the order of samples and of the arrivals.
        mlperf: whether durations, counts and seeds are MLPerf's own.
        rounds: how often each row is timed, in alternation with the others.
        end_to_end: whether decoding and preprocessing were timed too.
        max_p99_ms: bound of the server scenario.
        threads: the requested CPU threads of one call, or None.
        batch: images of one call; 0 leaves it to each scenario (1; 8 in multi-stream and offline).
        provider: the requested one, `cpu` or `cuda`, or None.
        via: the device that was reached over ssh, or None.
        suite: the suite whose rows these are, or None.
    """

    target: str
    scenarios: tuple[str, ...]
    duration_s: float
    min_queries: int
    seed: int
    mlperf: bool = False
    rounds: int = 1
    end_to_end: bool = False
    max_p99_ms: float | None = None
    threads: int | None = None
    batch: int = 1
    provider: str | None = None
    via: str | None = None
    suite: str | None = None


@dataclass(frozen=True)
class LatencyReport:
    """The result of one bench.

    Attributes:
        schema_version: of this layout; readers refuse a newer one.
        created: ISO 8601 time in UTC, when it began.
        pinnace: version that measured.
        device: the machine that ran the model, or the client where a server was measured.
        settings: what was asked for.
        results: the rows.
        warnings: about all of them.
        failures: rows of a suite that have no figures.
        rows: names of a suite's networks in their order, with what is to be known of each, which may be "".
    """

    schema_version: int
    created: str
    pinnace: str
    device: DeviceInfo
    settings: BenchSettings
    results: tuple[Result, ...]
    warnings: tuple[Caveat, ...] = ()
    failures: tuple[Failure, ...] = ()
    rows: dict[str, str] = field(default_factory=dict)

    def to_json(self, *, samples: bool = True) -> bytes:
        """The report as JSON.

        Args:
            samples: whether every single latency is in it.
        """
        report = self
        if not samples:
            rows = tuple(replace(result, latencies=Samples()) for result in self.results)
            report = replace(self, results=rows)
        return _REPORT.dump_json(report) + b"\n"


_REPORT: TypeAdapter[LatencyReport] = TypeAdapter(LatencyReport)


def read(path: Path) -> LatencyReport:
    """Read a report.

    Raises:
        UsageError: the file is missing, damaged, not a report, or of a newer version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    return parse(data, str(path))


def parse(data: bytes, name: str) -> LatencyReport:
    """Read a report from bytes; `name` says in errors where they came from.

    Raises:
        UsageError: they are damaged, not a report, or of a newer version.
    """
    from pydantic_core import from_json

    try:
        raw: Any = from_json(data)
    except ValueError:
        raise UsageError(f"{name} is not a latency report: it is not JSON, or it is cut off") from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, int):
        raise UsageError(f"{name} is not a latency report: it has no schema_version")
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{name} was written by a newer pinnace",
            expected=f"schema_version {SCHEMA_VERSION} or lower",
            got=str(version),
            hint="pip install --upgrade pinnace",
        )
    try:
        return _REPORT.validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{name} is damaged: {place}: {first['msg'].lower()}") from None


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a report."""
    # The class was renamed after the schema was published; its definition keeps the name.
    schema = json.loads(json.dumps(_REPORT.json_schema()).replace("BenchSettings", "Settings"))
    schema["$defs"] = dict(sorted(schema["$defs"].items()))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Pinnace latency report",
    }
