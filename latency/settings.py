"""The settings of a bench, as a report keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field


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
        provider: the requested one, `cpu`, `cuda`, `gpu`, `npu` or `auto`, or None.
        via: the device that was reached over ssh, or None.
        suite: the suite whose rows these are, or None.
        cold: whether each row was started in fresh processes too.
        soak_s: seconds of a soak, in which the rows run one after the other; or None.
        sweep: values of `batch` and `threads`, each with each; empty where they have one value.
        images: the labelled images that accuracy was counted on, or None.
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
    cold: bool = False
    soak_s: float | None = None
    sweep: dict[str, tuple[int, ...]] = field(default_factory=dict)
    images: str | None = None
