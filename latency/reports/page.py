"""One latency report as a page: figures first, then the pictures, the machine, and how it was measured."""

from __future__ import annotations

from collections.abc import Sequence

from pinnace.latency.numbers import ms, number
from pinnace.latency.report import LatencyReport
from pinnace.latency.reports import charts, cold, facts
from pinnace.latency.reports.html import document, figure, grid, table, warnings
from pinnace.latency.reports.svg import Markup, tag, text
from pinnace.latency.reports.timeline import timeline
from pinnace.latency.result import Result

_STAGES = ("decode", "preprocess", "compute")


def render(report: LatencyReport) -> str:
    """A report as one HTML document."""
    title = facts.title(report)
    content = [
        tag("h1", text(title)),
        tag("p", text(facts.when(report)), class_="under"),
        _fastest(report.results),
        warnings(facts.warnings(report)),
        *_failures(report),
    ]
    for scenario, rows in facts.by_scenario(report).items():
        content += _scenario(report, scenario, rows)
    if starts := cold.cells(report.results):
        content += [
            tag("h2", "Cold start and memory"),
            tag("p", text(cold.method(report.results)), class_="under"),
            grid(cold.HEAD, [[text(cell) for cell in line] for line in starts]),
        ]
    content += [tag("h2", "The machine"), table(facts.device(report.device))]
    content += [tag("h2", "How it was measured"), table(facts.settings(report.settings) + _method(report))]
    return document(title, content)


def _fastest(results: Sequence[Result]) -> Markup:
    if not results:
        return tag("p", "Nothing was measured.")
    best = min(results, key=lambda row: row.p50_ms / row.batch)
    pairs = [
        ("p50 of the fastest row" if len(results) > 1 else "p50", ms(best.p50_ms)),
        ("p99", ms(best.p99_ms)),
        ("images a second", number(best.throughput)),
    ]
    entries = [tag("div", tag("dt", text(name)), tag("dd", text(value))) for name, value in pairs]
    what = f"{best.row}, {best.scenario}, batch {best.batch}"
    return tag("dl", *entries, class_="big") + tag("p", text(what), class_="under")


def _failures(report: LatencyReport) -> list[Markup]:
    if not report.failures:
        return []
    lines = [[text(cell) for cell in line] for line in facts.failures(report)]
    return [tag("h2", "Failed"), grid(("row", "scenario", "why"), lines)]


def _scenario(report: LatencyReport, scenario: str, rows: list[Result]) -> list[Markup]:
    parts = [facts.SCENARIOS.get(scenario)]
    parts += [f"timed: {facts.TIMED.get(kind, kind)}" for kind in dict.fromkeys(row.timed for row in rows)]
    content = [
        tag("h2", text(scenario.capitalize())),
        tag("p", text("; ".join(part for part in parts if part)), class_="under"),
        _figures(rows),
        figure(charts.bars(rows)),
    ]
    drawn = [charts.rates(rows, report.settings.max_p99_ms), charts.cdf(rows)]
    for row in rows:
        drawn += [charts.histogram(row), timeline(row)]
    content += [figure(each) for each in drawn if each is not None]
    return content + _stages(rows)


def _figures(rows: Sequence[Result]) -> Markup:
    head = ["ms", "p50", "p90", "p99", "mean", "max", "cv", "images/s", "queries"]
    baselines = [row.ratio.baseline for row in rows if row.ratio]
    if baselines:
        head.append("speed")
    lines = []
    for row in rows:
        cells = [row.row, *map(number, (row.p50_ms, row.p90_ms, row.p99_ms, row.mean_ms, row.max_ms))]
        cells += [f"{row.cv:.1%}", number(row.throughput), f"{row.samples:,}"]
        if baselines:
            cells.append(f"{row.ratio.median:.2f}x" if row.ratio else "")
        lines.append([text(cell) for cell in cells])
    words = ""
    if baselines:
        spread = [
            f"{row.row} {row.ratio.median:.2f}x ({row.ratio.p10:.2f} to {row.ratio.p90:.2f})"
            for row in rows
            if row.ratio and row.row != row.ratio.baseline
        ]
        words = f"Speed is that of {baselines[0]} taken as 1, in rounds in which every row ran once"
        words += f"; 10th to 90th percentile of the rounds: {', '.join(spread)}." if spread else "."
    return grid(head, lines) + (tag("p", text(words), class_="note") if words else "")


def _stages(rows: Sequence[Result]) -> list[Markup]:
    known = [name for name in _STAGES if any(getattr(row.stages, name) is not None for row in rows)]
    if len(known) < 2:
        return []
    lines = []
    for row in rows:
        values = [getattr(row.stages, name) for name in known]
        lines.append([text(row.row), *("" if value is None else number(value) for value in values)])
    head = ["ms", *known]
    return [tag("h3", "Stages of a query, medians"), grid(head, lines)]


def _method(report: LatencyReport) -> facts.Pairs:
    found: facts.Pairs = []
    if loads := dict.fromkeys(row.loadgen for row in report.results):
        found.append(("load made by", ", ".join(loads)))
    bounds = [
        f"{row.row} ({row.scenario}): p{bound.percentile:g} below {ms(bound.ms)}"
        for row in report.results
        for bound in row.early_stopping
        if bound.ms is not None
    ]
    if bounds:
        found.append(("with 99 % confidence", f"by MLPerf's early stopping: {'; '.join(bounds)}"))
    found.append(("percentiles", "nearest rank over all queries: each is a latency that was measured"))
    return found
