"""One latency report as a page: figures first, then the pictures, the machine, and how it was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pinnace.latency.numbers import megabytes, ms, number
from pinnace.latency.report import LatencyReport
from pinnace.latency.reports import charts, extras, facts, soak, sortable, sweep
from pinnace.latency.reports.html import contents, document, figure, grid, table, warnings
from pinnace.latency.reports.row_names import renamed
from pinnace.latency.reports.svg import Markup, tag, text
from pinnace.latency.reports.timeline import timeline
from pinnace.latency.result import Result

_STAGES = ("decode", "preprocess", "compute")


def render(report: LatencyReport) -> str:
    """A report as one HTML document."""
    title = facts.title(report)
    sections = [
        (scenario.capitalize(), _scenario(report, scenario, rows, place))
        for place, (scenario, rows) in enumerate(facts.by_scenario(report).items())
    ]
    for extra in extras.tables(report.results):
        about = [tag("p", text(extra.method), class_="under")]
        lines = grid(extra.head, [[text(cell) for cell in line] for line in extra.lines])
        sections.append((extra.title, [*about, lines]))
    if report.failures:
        lines = grid(
            ("row", "scenario", "why"), [[text(cell) for cell in line] for line in facts.failures(report)]
        )
        sections.append(("Failed", [lines]))
    sections.append(("The machine", [table(facts.device(report.device))]))
    sections.append(("How it was measured", [table(facts.settings(report.settings) + _method(report))]))
    content = [
        tag("h1", text(title)),
        tag("p", text(facts.when(report)), class_="under"),
        _headline(report.results),
        warnings([*_failed(report), *facts.warnings(report)]),
        contents([name for name, _ in sections]),
    ]
    for place, (name, parts) in enumerate(sections):
        content += [tag("h2", text(name), id=f"section-{place}"), *parts]
    return document(title, content)


def headline(results: Sequence[Result]) -> Result:
    """The row that a reader means: the fastest for a single image, one query after the other.

    Where none was measured so, that of the fewest images a call.
    """
    return min(results, key=lambda row: (row.scenario != "single-stream", row.batch, row.p50_ms))


def _headline(results: Sequence[Result]) -> Markup:
    if not results:
        return tag("p", "Nothing was measured.")
    best = headline(results)
    alike = [row for row in results if (row.scenario, row.batch) == (best.scenario, best.batch)]
    pairs = [
        ("p50 of the fastest row" if len(alike) > 1 else "p50", ms(best.p50_ms)),
        ("p99", ms(best.p99_ms)),
        ("images a second", number(best.throughput)),
    ]
    entries = [tag("div", tag("dt", text(name)), tag("dd", text(value))) for name, value in pairs]
    what = f"{best.row}, {best.scenario}, batch {best.batch}"
    return tag("dl", *entries, class_="big") + tag("p", text(what), class_="under")


def _failed(report: LatencyReport) -> list[str]:
    count = len(report.failures)
    return (
        [f"{count} row{'s' * (count != 1)} failed, and {'have' if count != 1 else 'has'} no figures"]
        if count
        else []
    )


def _scenario(report: LatencyReport, scenario: str, measured: list[Result], place: int) -> list[Markup]:
    parts = [facts.SCENARIOS.get(scenario)]
    parts += [
        f"timed: {facts.TIMED.get(kind, kind)}" for kind in dict.fromkeys(row.timed for row in measured)
    ]
    rows = renamed(measured)
    names = [row.row for row in rows]
    content = [
        tag("p", text("; ".join(part for part in parts if part)), class_="under"),
        _figures(rows, measured),
        figure(sortable.bars(rows, names, place)),
    ]
    drawn = [
        sweep.curves(measured) if report.settings.sweep else None,
        charts.rates(rows, report.settings.max_p99_ms),
        charts.cdf(rows),
    ]
    drawn += [soak.chart(row) for row in rows]
    content += [figure(each) for each in drawn if each is not None]
    for row in rows:
        pictures = [figure(each) for each in (charts.histogram(row), timeline(row)) if each is not None]
        if pictures:
            summary = f"{row.row}: how often each latency occurred, and over time"
            content.append(tag("details", tag("summary", text(summary)), *pictures))
    return content + _stages(rows)


def _figures(rows: Sequence[Result], measured: Sequence[Result]) -> Markup:
    """The table; `rows` have the names that are shown, `measured` those of the report."""
    columns: list[tuple[str, Callable[[Result], str]]] = [
        ("p50", lambda row: number(row.p50_ms)),
        ("p90", lambda row: number(row.p90_ms)),
        ("p99", lambda row: number(row.p99_ms)),
        ("p99.9", lambda row: "" if row.p999_ms is None else number(row.p999_ms)),
        ("mean", lambda row: number(row.mean_ms)),
        ("max", lambda row: number(row.max_ms)),
        ("cv", lambda row: f"{row.cv:.1%}"),
        ("images/s", lambda row: number(row.throughput)),
        ("file, MB", lambda row: megabytes(row.file_bytes)),
        ("top-1", lambda row: "" if row.accuracy is None else f"{row.accuracy.top1:.1%}"),
        ("J/image", lambda row: number(row.energy[0].image_j) if row.energy else ""),
        ("queries", lambda row: f"{row.samples:,}"),
        ("speed", lambda row: f"{row.ratio.median:.2f}x" if row.ratio else ""),
    ]
    shown = [(name, cell) for name, cell in columns if any(cell(row) for row in rows)]
    lines = [[text(row.row), *(text(cell(row)) for _, cell in shown)] for row in rows]
    notes = []
    baselines = [row.ratio.baseline for row in measured if row.ratio]
    if baselines:
        spread = [
            f"{row.row} {row.ratio.median:.2f}x ({row.ratio.p10:.2f} to {row.ratio.p90:.2f})"
            for row in rows[1:]
            if row.ratio
        ]
        words = f"Speed is that of {rows[0].row} taken as 1, in rounds in which every row ran once"
        notes.append(
            words + (f"; 10th to 90th percentile of the rounds: {', '.join(spread)}." if spread else ".")
        )
    if any(row.accuracy for row in rows):
        notes.append(
            "Top-1 on labelled images, with its 95 % interval: "
            + ", ".join(
                "{} {:.1%} ({:.1%} to {:.1%})".format(row.row, row.accuracy.top1, *row.accuracy.top1_interval)
                for row in rows
                if row.accuracy
            )
            + "."
        )
    return grid(["ms", *(name for name, _ in shown)], lines) + "".join(
        tag("p", text(words), class_="note") for words in notes
    )


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
