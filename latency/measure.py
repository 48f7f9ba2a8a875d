"""The measurement: warm up, time the rows in alternating rounds, and compute their figures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from pinnace.latency.load_generators import LoadGenerator
from pinnace.latency.result import Result
from pinnace.latency.result_parts import Caveat, RatePoint, Ratio, Round, Samples, WarmUp
from pinnace.latency.scenarios import MLPERF_OFFLINE_SAMPLES, MULTI_STREAM, OFFLINE, SERVER, Plan, Scenario
from pinnace.latency.settings import BenchSettings
from pinnace.latency.statistics import BOUNDED, PERCENTILES, bound, deviation, mean, percentile
from pinnace.latency.subjects.base import Subject
from pinnace.latency.system_under_test import SystemUnderTest
from pinnace.models.errors import PinnaceError
from pinnace.models.progress import Event, Progress, Stage

WINDOW_S = 0.25
WINDOW_CALLS = 5
WARM_UP_S = 10.0
STABLE = 0.10
_STABLE_WINDOWS = 3

# Rates that are tried between one within the bound and one above it.
_BISECTIONS = 5
# At a low rate, --min-queries would take minutes, so a rate ends after so many durations or so few queries.
_MOST_DURATIONS = 4
_FEWEST_QUERIES = 10


# Called with what failed, and why.
OnFailure = Callable[[Subject, PinnaceError], None]


@dataclass
class Measurement:
    """A subject under one scenario, and what has been measured of it."""

    subject: Subject
    warm_up: WarmUp
    starts: list[float] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    seconds: float = 0.0
    images: int = 0
    errors: int = 0


def warm_up(subject: Subject, size: int, most_s: float = WARM_UP_S) -> WarmUp:
    """Call a subject until the medians of three windows lie within 10 % of each other."""
    began = time.perf_counter()
    windows: list[float] = []
    index = 0
    while True:
        taken: list[float] = []
        window = time.perf_counter()
        while len(taken) < WINDOW_CALLS or time.perf_counter() - window < WINDOW_S:
            started = time.perf_counter()
            subject.call([(index + step) % subject.library for step in range(size)])
            taken.append(1000 * (time.perf_counter() - started))
            index = (index + 1) % subject.library
        windows.append(round(statistics.median(taken), 4))
        last = windows[-_STABLE_WINDOWS:]
        stable = len(last) == _STABLE_WINDOWS and max(last) <= (1 + STABLE) * min(last)
        seconds = time.perf_counter() - began
        if stable or seconds >= most_s:
            subject.stages()
            return WarmUp(round(seconds, 3), tuple(windows), stable)


def measure_interleaved(
    load: LoadGenerator,
    scenario: Scenario,
    subjects: Sequence[Subject],
    settings: BenchSettings,
    progress: Progress,
    on_failure: OnFailure | None = None,
) -> list[Result]:
    """Time subjects under a scenario other than `server`, in rounds in which each runs once.

    So the machine's other load affects all of them alike, and the ratios are taken within the rounds.

    Args:
        load: makes the queries.
        scenario: how they arrive.
        subjects: what is timed; the first is the baseline.
        settings: for how long.
        progress: called before each turn.
        on_failure: called with a subject that fails, which the others then do without.

    Raises:
        PinnaceError: one fails, and nobody is to be told, or none is left.
    """
    rows: list[Measurement] = []

    def attempt(subject: Subject, work: Callable[[], None]) -> bool:
        try:
            work()
        except PinnaceError as error:
            if on_failure is None:
                raise
            on_failure(subject, error)
            return False
        return True

    def open_row(subject: Subject) -> None:
        rows.append(Measurement(subject, warm_up(subject, call_size(scenario, subject))))

    def take_turn(row: Measurement, turn: int) -> None:
        plan = _plan(scenario, row, settings, turn)
        samples, system = _run(load, plan, row.subject, scenario)
        _add(row, scenario, samples, system, time.perf_counter() - began)

    for subject in subjects:
        attempt(subject, partial(open_row, subject))
    began = time.perf_counter()
    for turn in range(settings.rounds):
        for row in list(rows):
            progress(_event(row.subject, settings.duration_s / settings.rounds, scenario.name))
            if not attempt(row.subject, partial(take_turn, row, turn)):
                rows.remove(row)
    results = [_result(load, scenario, row) for row in rows]
    return _with_ratios(results)


def _event(subject: Subject, seconds: float, detail: str) -> Event:
    return Event(Stage.MEASURE, subject.info.variant, subject.info.runtime, total=seconds, detail=detail)


def call_size(scenario: Scenario, subject: Subject) -> int:
    """Images of one call."""
    return min(subject.batch, scenario.samples) if scenario is MULTI_STREAM else subject.batch


def _plan(scenario: Scenario, row: Measurement, settings: BenchSettings, turn: int) -> Plan:
    seconds = settings.duration_s / settings.rounds
    call_s = row.warm_up.windows[-1] / 1000
    size = call_size(scenario, row.subject)
    samples = 0
    if scenario is OFFLINE:
        samples = max(1, round(seconds / call_s)) * size * row.subject.at_once
        if settings.mlperf:
            samples = max(samples, MLPERF_OFFLINE_SAMPLES)
        samples = -(-samples // size) * size
    return Plan(
        scenario=scenario,
        seconds=seconds,
        min_queries=max(1, -(-settings.min_queries // settings.rounds)),
        seed=settings.seed + turn,
        library=row.subject.library,
        expected_s=call_s * max(1, scenario.samples // size),
        samples=samples,
        mlperf=settings.mlperf,
    )


def _run(
    load: LoadGenerator, plan: Plan, subject: Subject, scenario: Scenario
) -> tuple[Samples, SystemUnderTest]:
    size = call_size(scenario, subject)
    together = scenario in (MULTI_STREAM, OFFLINE)
    system = SystemUnderTest(
        subject,
        images=1 if together else size,
        size=size if together else 1,
        threaded=scenario is SERVER or (together and subject.at_once > 1),
    )
    try:
        samples = load.run(plan, system)
    finally:
        system.close()
    return samples, system


def _add(
    row: Measurement, scenario: Scenario, samples: Samples, system: SystemUnderTest, ended: float
) -> None:
    spent = max(s + ms / 1000 for s, ms in zip(samples.start_s, samples.latency_ms, strict=True))
    offset = max(0.0, ended - spent)
    if scenario is OFFLINE:
        # Every sample is due at the beginning, so the row has the durations of the calls.
        starts, now = [], 0.0
        for each in system.calls:
            starts.append(round(offset + now, 6))
            now += each / 1000 / system.subject.at_once
        taken: Sequence[float] = [round(each, 6) for each in system.calls]
    else:
        starts = [round(offset + start, 6) for start in samples.start_s]
        taken = samples.latency_ms
    row.starts += starts
    row.taken += taken
    row.rounds.append(Round(round(offset, 3), len(taken), percentile(sorted(taken), 50)))
    row.seconds += spent
    row.images += system.images
    row.errors += system.errors


def _result(load: LoadGenerator, scenario: Scenario, row: Measurement) -> Result:
    ordered = sorted(row.taken)
    p50, p90, p95, p99 = (percentile(ordered, percent) for percent in PERCENTILES)
    bounds = tuple(bound(ordered, percent) for percent in BOUNDED)
    middle, std = mean(ordered), deviation(ordered)
    caveats = []
    if not row.warm_up.stable:
        caveats.append(
            Caveat("warm-up", f"the latencies were still not stable after {WARM_UP_S:.0f} s of warm-up")
        )
    if row.errors:
        caveats.append(Caveat("errors", f"{row.errors} of {len(ordered)} queries had no answer"))
    return Result(
        **asdict(row.subject.info),
        batch=call_size(scenario, row.subject),
        scenario=scenario.name,
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        mean_ms=round(middle, 6),
        min_ms=ordered[0],
        max_ms=ordered[-1],
        std_ms=round(std, 6),
        cv=round(std / middle, 6),
        throughput=round(row.images / row.seconds, 4),
        samples=len(ordered),
        duration_s=round(row.seconds, 6),
        loadgen=load.name,
        errors=row.errors,
        early_stopping=bounds,
        p999_ms=percentile(ordered, 99.9) if bounds[-1].ms is not None else None,
        latencies=Samples(tuple(row.starts), tuple(row.taken)),
        stages=row.subject.stages(),
        rounds=tuple(row.rounds),
        warm_up=row.warm_up,
        warnings=tuple(caveats),
    )


def _with_ratios(results: list[Result]) -> list[Result]:
    if len(results) < 2:
        return results
    base = results[0]
    rated = []
    for result in results:
        # An image, which of rows of one batch is a query.
        images = result.batch / base.batch
        ratios = sorted(
            images * one.p50_ms / other.p50_ms for one, other in zip(base.rounds, result.rounds, strict=True)
        )
        low, middle, high = (percentile(ratios, percent) for percent in (10, 50, 90))
        ratio = Ratio(base.row, round(middle, 4), round(low, 4), round(high, 4), len(ratios))
        rated.append(replace(result, ratio=ratio))
    return rated


def measure_highest_rate(
    load: LoadGenerator, subject: Subject, settings: BenchSettings, progress: Progress
) -> Result:
    """The highest rate of Poisson arrivals whose 99th percentile is within the bound, found by bisection.

    Each rate is tried for the whole duration, and up to four times as long where it has too few queries.
    Where every rate is too high, the row is that of the lowest.
    """
    warm = warm_up(subject, subject.batch)
    tried: list[tuple[RatePoint, Result]] = []

    def is_within_bound(rate: float) -> bool:
        progress(_event(subject, settings.duration_s, f"server at {rate:.4g}/s"))
        tried.append(_at_rate(load, Measurement(subject, warm), settings, rate))
        return tried[-1][0].valid

    low, high = 0.0, 1000 * subject.batch / warm.windows[-1] / 2
    while is_within_bound(high) and len(tried) < _BISECTIONS:
        low, high = high, high * 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if is_within_bound(middle):
            low = middle
        else:
            high = middle
    tried.sort(key=lambda pair: pair[0].rate)
    rates = tuple(point for point, _ in tried)
    valid = [result for point, result in tried if point.valid]
    if valid:
        return replace(max(valid, key=lambda result: result.throughput), rates=rates)
    lowest = tried[0][1]
    message = f"at every rate that was tried, the 99th percentile is above {settings.max_p99_ms:g} ms"
    return replace(lowest, rates=rates, warnings=(*lowest.warnings, Caveat("bound", message)))


def _at_rate(
    load: LoadGenerator, row: Measurement, settings: BenchSettings, rate: float
) -> tuple[RatePoint, Result]:
    """Measure at one rate of arrivals, in images a second."""
    subject = row.subject
    in_time = int(_MOST_DURATIONS * settings.duration_s * rate / subject.batch)
    plan = Plan(
        SERVER,
        settings.duration_s,
        min(settings.min_queries, max(_FEWEST_QUERIES, in_time)),
        settings.seed,
        subject.library,
        row.warm_up.windows[-1] / 1000,
        rate=rate / subject.batch,
        mlperf=settings.mlperf,
    )
    samples, system = _run(load, plan, subject, SERVER)
    _add(row, SERVER, samples, system, 0.0)
    result = _result(load, SERVER, row)
    assert settings.max_p99_ms is not None
    point = RatePoint(
        rate=round(rate, 4),
        achieved=result.throughput,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        queries=result.samples,
        errors=result.errors,
        valid=result.p99_ms <= settings.max_p99_ms and not result.errors,
    )
    return point, result
