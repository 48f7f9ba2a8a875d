"""What a suite's report says as lines: every network in each variant and runtime, and what is published."""

from __future__ import annotations

from dataclasses import dataclass, field

from pinnace.latency.numbers import number
from pinnace.latency.report import LatencyReport
from pinnace.latency.result import Result
from pinnace.latency.suites.published import Publication, all_publications

MARKS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class PublishedValue:
    """A published figure.

    Attributes:
        fps: images a second.
        note: what differs from the row.
    """

    fps: float
    note: str = ""


@dataclass(frozen=True)
class SuiteLine:
    """One network.

    Attributes:
        name: of the row.
        size: of the input, as `224x224`, or empty.
        results: by scenario, those that have figures.
        published: by column.
        note: about the network.
        problem: why figures are missing.
    """

    name: str
    size: str = ""
    results: dict[str, Result] = field(default_factory=dict)
    published: dict[str, PublishedValue] = field(default_factory=dict)
    note: str = ""
    problem: str = ""


@dataclass(frozen=True)
class SuiteTable:
    """Every network in one variant and runtime.

    Attributes:
        title: which.
        scenarios: measured columns, with what stands over them.
        columns: published ones.
        lines: the networks, in the order of the suite.
    """

    title: str
    scenarios: dict[str, str]
    columns: tuple[str, ...]
    lines: tuple[SuiteLine, ...]

    def notes(self) -> list[str]:
        """Every note once, in the order in which they are met; their marks are `MARKS`."""
        found = []
        for line in self.lines:
            found += [
                line.note,
                *(line.published[name].note for name in self.columns if name in line.published),
            ]
        return [note for note in dict.fromkeys(found) if note]

    def mark(self, note: str) -> str:
        """The letter of a note, or nothing."""
        return MARKS[self.notes().index(note) % len(MARKS)] if note else ""


def tables(report: LatencyReport) -> list[SuiteTable]:
    """A table for each variant and runtime that has figures."""
    pairs = list(dict.fromkeys((row.row, row.device) for row in report.results))
    return [_table(report, row, device) for row, device in pairs]


def sources(table: SuiteTable) -> list[Publication]:
    """Where the published columns come from."""
    return [each for each in all_publications() if set(each.columns) & set(table.columns)]


def fps(result: Result | None) -> str:
    """Images a second, or nothing."""
    return "" if result is None else number(result.throughput)


def warnings(report: LatencyReport) -> list[str]:
    """Every kind of warning once, with the rows that it is about."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in report.results:
        for caveat in row.warnings:
            found.setdefault(caveat.code, {}).setdefault(caveat.message, []).append(row.model)
    sentences = [caveat.message for caveat in report.warnings]
    for messages in found.values():
        (first, names), *others = messages.items()
        more = {name: None for _, models in others for name in models}
        if not others:
            everywhere = len(names) == len(report.results)
            sentences.append(first if everywhere else f"{', '.join(dict.fromkeys(names))}: {first}")
        else:
            sentences.append(f"{names[0]}: {first} (with other figures: {', '.join(more)})")
    return list(dict.fromkeys(sentences))


def problem(report: LatencyReport, name: str) -> str:
    """Why a row has no figures, or not all, as one sentence."""
    return "; ".join(
        f"{each.scenario}: {each.message}" if each.scenario else each.message
        for each in report.failures
        if each.model == name
    )


def _table(report: LatencyReport, row: str, device: str) -> SuiteTable:
    results = [each for each in report.results if (each.row, each.device) == (row, device)]
    lines = [_line(report, name, note, results) for name, note in _rows(report).items()]
    used = {column for line in lines for column in line.published}
    columns = tuple(name for each in all_publications() for name in each.columns if name in used)
    first = results[0]
    threads = "" if first.threads is None else f", {first.threads} thread{'s' * (first.threads != 1)}"
    title = f"{first.variant} in {first.runtime} on {device}{threads}"
    scenarios = {each.scenario: _over(each) for each in reversed(results)}
    ordered = {name: scenarios[name] for name in report.settings.scenarios if name in scenarios}
    return SuiteTable(title, ordered, columns, tuple(lines))


def _rows(report: LatencyReport) -> dict[str, str]:
    return report.rows or {row.model: "" for row in report.results}


def _over(result: Result) -> str:
    if result.scenario in ("single-stream", "offline"):
        return f"batch {result.batch}"
    return result.scenario


def _line(report: LatencyReport, name: str, note: str, results: list[Result]) -> SuiteLine:
    own = {row.scenario: row for row in results if row.model == name}
    if not own:
        return SuiteLine(name, note=note, problem=problem(report, name) or "not measured")
    first = next(iter(own.values()))
    size = next(iter(first.input.values()))[-2:]
    published = {}
    for publication in all_publications():
        if (figures := publication.of(first.source, size)) is None:
            continue
        for column, value in zip(publication.columns, figures.fps, strict=True):
            if value is not None:
                published[column] = PublishedValue(value, figures.note)
    return SuiteLine(name, "x".join(map(str, size)), own, published, note, problem(report, name))
