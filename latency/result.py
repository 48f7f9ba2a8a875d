"""One row of a report: what was measured of one variant in one runtime under one scenario."""

from __future__ import annotations

from dataclasses import dataclass, field

from pinnace.latency.result_parts import (
    Bound,
    Caveat,
    ColdStart,
    EnergyUse,
    Memory,
    RatePoint,
    Ratio,
    Round,
    Samples,
    Soak,
    Stages,
    State,
    WarmUp,
)
from pinnace.models.bundle.measurements import Accuracy


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
        device: `cpu`, `cuda`, `gpu` or `npu`; `remote` behind a URL.
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
        p999_ms: 99.9th percentile; None where there are too few queries for a bound of it.
        file_bytes: size of the variant's files; None behind a URL and of the eager network.
        cold: starts in fresh processes; None where they were not asked for.
        memory: of those processes, likewise.
        accuracy: on labelled images; None where there were none.
        energy: what each sensor of power counted; empty where there is none.
        soak: the long run; None where it was not asked for.
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
    p999_ms: float | None = None
    file_bytes: int | None = None
    cold: ColdStart | None = None
    memory: Memory | None = None
    energy: tuple[EnergyUse, ...] = ()
    soak: Soak | None = None
    accuracy: Accuracy | None = None

    @property
    def row(self) -> str:
        """What tells it from the other rows of a scenario, as a person reads it."""
        return f"{self.variant} {self.runtime}".strip()


@dataclass(frozen=True)
class Failure:
    """A row that has no figures.

    Attributes:
        model: of a suite, the row's name; else its variant and runtime.
        scenario: which one failed; None where the model could not be had at all.
        message: why.
    """

    model: str
    scenario: str | None
    message: str
