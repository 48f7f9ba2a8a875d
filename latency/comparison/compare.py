"""The rows that reports share, with the ratios of their figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pinnace.latency.comparison import bootstrap
from pinnace.latency.comparison.conditions import LATENCIES, METRICS, Condition
from pinnace.latency.report import LatencyReport
from pinnace.latency.result import Result
from pinnace.models.errors import UsageError

_SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
# Where the next query begins when the last has ended, images a second are the mean latency upside down.
_ONE_AFTER_THE_OTHER = ("single-stream", "multi-stream")

Key = tuple[object, ...]


@dataclass(frozen=True)
class Change:
    """One metric of one row in a report, against the first report.

    Attributes:
        metric: such as `p99`.
        first: in the first report; milliseconds, or images a second.
        value: in this one.
        ratio: `value / first`.
        interval: of the ratio, with 95 % confidence; None where it cannot be estimated.
    """

    metric: str
    first: float
    value: float
    ratio: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Shared:
    """A row that all reports have.

    Attributes:
        name: its variant, runtime and scenario, and the model and batch.
        results: it, in each report.
        changes: for each report after the first, every metric.
    """

    name: str
    results: tuple[Result, ...]
    changes: tuple[tuple[Change, ...], ...]


@dataclass(frozen=True)
class Violation:
    """A condition of `--fail-if` that holds.

    Attributes:
        row: the row's name.
        report: place of the report among those that were given; 1 is the second.
        condition: as it was given.
        change: the metric that it is about.
    """

    row: str
    report: int
    condition: Condition
    change: Change


def compare(reports: Sequence[LatencyReport], names: Sequence[str]) -> list[Shared]:
    """Compare every report with the first, in the rows that all of them have.

    Reports of a single row each are compared whatever their rows are.

    Raises:
        UsageError: the reports have no row in common.
    """
    if all(len(report.results) == 1 for report in reports):
        rows = [tuple(report.results[0] for report in reports)]
        called = dict.fromkeys(_name(row) for row in rows[0])
        return [_shared(" against ".join(called), rows[0])]
    keyed = [_keyed(report) for report in reports]
    keys = [key for key in keyed[0] if all(key in other for other in keyed[1:])]
    if not keys:
        have = "; ".join(
            f"{name} has {', '.join(_name(row) for row in report.results) or 'none'}"
            for name, report in zip(names, reports, strict=True)
        )
        raise UsageError("the reports have no row in common", got=have)
    return [_shared(_name(keyed[0][key]), tuple(each[key] for each in keyed)) for key in keys]


def only_in(reports: Sequence[LatencyReport]) -> list[list[str]]:
    """For each report, the names of its rows that not every report has, and of its rows that failed.

    Reports of a single row each have no such rows, since these are compared whatever they are.
    """
    failed = [
        [f"{' '.join(filter(None, (each.model, each.scenario)))} (failed)" for each in report.failures]
        for report in reports
    ]
    if all(len(report.results) == 1 for report in reports):
        return failed
    keyed = [_keyed(report) for report in reports]
    return [
        [_name(row) for key, row in each.items() if not all(key in other for other in keyed)] + lost
        for each, lost in zip(keyed, failed, strict=True)
    ]


def violations(rows: Sequence[Shared], conditions: Sequence[Condition]) -> list[Violation]:
    """Every condition that holds, of every row in every report after the first."""
    return [
        Violation(row.name, place, condition, change)
        for row in rows
        for place, changes in enumerate(row.changes, start=1)
        for condition in conditions
        for change in changes
        if change.metric == condition.metric and condition.holds(change.value, change.ratio)
    ]


def _keyed(report: LatencyReport) -> dict[Key, Result]:
    found: dict[Key, Result] = {}
    times: Counter[Key] = Counter()
    for row in report.results:
        key: Key = (row.model, row.variant, row.runtime, row.scenario, row.batch, row.timed)
        nth: Key = (*key, times[key])  # the same again, with other threads: pairs up in their order
        found[nth] = row
        times[key] += 1
    return found


def _name(row: Result) -> str:
    batch = f" batch {row.batch}" if row.batch > 1 else ""
    return f"{row.model} {row.row} {row.scenario}{batch}"


def _shared(name: str, results: tuple[Result, ...]) -> Shared:
    first = results[0]
    return Shared(name, results, tuple(_changes(first, other) for other in results[1:]))


def _changes(first: Result, other: Result) -> tuple[Change, ...]:
    found = []
    for metric in METRICS:
        before, now = _value(first, metric), _value(other, metric)
        if before > 0:
            found.append(Change(metric, before, now, now / before, _interval(first, other, metric)))
    return tuple(found)


def _value(row: Result, metric: str) -> float:
    return float(getattr(row, f"{metric}_ms" if metric in LATENCIES else metric))


def _interval(first: Result, other: Result, metric: str) -> tuple[float, float] | None:
    a, b = first.latencies.latency_ms, other.latencies.latency_ms
    if metric in _SHARES:
        return bootstrap.interval(a, b, bootstrap.percentile(_SHARES[metric]))
    if metric == "mean":
        return bootstrap.interval(a, b, bootstrap.mean)
    paced = first.scenario in _ONE_AFTER_THE_OTHER and other.scenario in _ONE_AFTER_THE_OTHER
    if metric == "throughput" and paced:
        inverse = bootstrap.interval(b, a, bootstrap.mean)
        if inverse is None:
            return None
        images = (other.batch or 1) / (first.batch or 1)
        return inverse[0] * images, inverse[1] * images
    return None  # the bootstrap says nothing of a minimum or a maximum
