"""A comparison as a page of HTML, with a picture of the ratios and the distributions side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from pinnace.latency.comparison.bootstrap import RESAMPLES
from pinnace.latency.comparison.compare import Change, Shared, only_in
from pinnace.latency.numbers import number
from pinnace.latency.report import LatencyReport
from pinnace.latency.reports import facts
from pinnace.latency.reports.chart import Panel, drawing, words
from pinnace.latency.reports.charts import (
    LABEL,
    LEFT,
    RIGHT,
    WIDE,
    Figure,
    bars,
    cdf,
    cut,
    legend_of,
    twice,
    x_ticks,
)
from pinnace.latency.reports.html import contents, document, figure, grid, table, warnings
from pinnace.latency.reports.scale import Scale, fit
from pinnace.latency.reports.svg import Markup, tag, text
from pinnace.latency.result import Result

_PARTS = 40
SHOWN = ("p50", "p90", "p99", "throughput")
METHOD = (
    "Ratios are those to the first report. The intervals hold with 95 % confidence; they come from "
    f"{RESAMPLES:,} resamples of blocks of neighbouring latencies (circular block bootstrap, fixed seed), "
    "and say nothing of what differs from one run to the next, such as temperature or the load of others."
)


def render(
    reports: Sequence[LatencyReport], names: Sequence[str], rows: Sequence[Shared], failed: Sequence[str]
) -> str:
    """A comparison as one HTML document.

    Args:
        reports: the first is what the others are compared with.
        names: what to call them, in the same order.
        rows: what `compare` found.
        failed: a sentence for each condition of `--fail-if` that holds.
    """
    title = f"{', '.join(names[1:])} against {names[0]}"
    content = [
        tag("h1", text(title)),
        tag("p", text(METHOD), class_="under"),
        warnings(failed),
        tag("h2", "What is compared"),
        table(
            [
                (name, f"{facts.title(report)}, {facts.when(report)}")
                for name, report in zip(names, reports, strict=True)
            ]
        ),
    ]
    content += _only(reports, names)
    sections = [row.name for row in rows]
    if len(sections) > 1:
        content.append(contents(sections))
        content.append(figure(_side_by_side(rows, names)))
    for place, row in enumerate(rows):
        heading = tag("h2", text(row.name), id=f"section-{place}")
        content += [heading, _figures(row, names), figure(ratios(row, names))]
        named = [
            replace(result, variant=name, runtime="") for name, result in zip(names, row.results, strict=True)
        ]
        if drawn := cdf(named):
            content.append(figure(drawn))
        if drawn := over_time(named):
            content.append(figure(drawn))
    for name, report in zip(names, reports, strict=True):
        content += [tag("h2", text(f"The machine of {name}")), table(facts.device(report.device))]
        content.append(warnings(facts.warnings(report)))
    return document(title, content)


def _only(reports: Sequence[LatencyReport], names: Sequence[str]) -> list[Markup]:
    lines = [(name, "; ".join(rows)) for name, rows in zip(names, only_in(reports), strict=True) if rows]
    return [tag("h2", "Rows that only one side has"), table(lines)] if lines else []


def _side_by_side(rows: Sequence[Shared], names: Sequence[str]) -> Figure:
    """The bars of every row, those of the reports under one another."""
    named = [
        replace(result, variant=_short(row, name), runtime="")
        for row in rows
        for name, result in zip(names, row.results, strict=True)
    ]
    return bars(named)


def _short(row: Shared, name: str) -> str:
    """A row in a report, with room for the report's name."""
    end = f": {cut(name, LABEL // 2)}"
    return cut(row.name, LABEL - len(end)) + end


def over_time(named: Sequence[Result]) -> Figure | None:
    """The median latency over time of a row in every report, laid over each other."""
    series = [(i, _medians(row)) for i, row in enumerate(named)]
    known = [(i, points) for i, points in series if len(points) > 1]
    if len(known) < 2:
        return None
    values = [value for _, points in known for _, value in points]
    end = max(points[-1][0] for _, points in known)

    def draw(width: int) -> Markup:
        panel = Panel(Scale(0, end, LEFT, width - RIGHT), fit(values, 230, 24))
        panel.axes("s", "median, ms", x_ticks=x_ticks(width))
        for i, points in known:
            panel.line(points, i)
        return drawing(width, 270, "Latency over time", panel.markup())

    caption = f"Medians of {_PARTS} parts of each row's time."
    return twice("over", "Latency over time", caption, draw, legend_of([row.row for row in named]))


def _medians(row: Result) -> list[tuple[float, float]]:
    """The middle of each part of the time, and the median latency of the queries that were due in it."""
    starts, taken = row.latencies.start_s, row.latencies.latency_ms
    if not starts:
        return []
    length = max(starts[-1], 1e-9) / _PARTS
    parts: dict[int, list[float]] = {}
    for start, value in zip(starts, taken, strict=True):
        parts.setdefault(min(_PARTS - 1, int(start / length)), []).append(value)
    return [((part + 0.5) * length, median(inside)) for part, inside in sorted(parts.items())]


def ratios(row: Shared, names: Sequence[str]) -> Figure:
    """Each ratio as a dot with its interval as a line; at 1 nothing changed."""
    lines = [
        (place, change)
        for metric in SHOWN
        for place, changes in enumerate(row.changes)
        for change in changes
        if change.metric == metric
    ]
    values = [1.0] + [value for _, change in lines for value in (change.ratio, *(change.interval or ()))]
    step = 26

    def draw(width: int) -> Markup:
        foot = 30.0 + step * len(lines)
        panel = Panel(
            fit(values, LEFT + 36, width - RIGHT - (150 if width == WIDE else 44)), Scale(0, 1, foot, 24)
        )
        panel.x_axis("ratio to the first report; 1: unchanged", x_ticks(width) - 2)
        panel.upright(1.0, "")
        content = []
        for i, (place, change) in enumerate(lines):
            at = 1 - (i + 0.5) / len(lines)
            if change.interval:
                panel.line([(change.interval[0], at), (change.interval[1], at)], place + 1)
            panel.dot(change.ratio, at, place + 1, f"{names[place + 1]}: {ratio_text(change)}")
            if place == 0:
                content.append(words(change.metric, 2, panel.y(at) + 4))
            beside = ratio_text(change) if width == WIDE else f"{change.ratio:.3f}x"
            content.append(words(beside, width - 2, panel.y(at) + 4, "value", "end"))
        return drawing(width, foot + 40, f"Ratios of {row.name}", panel.markup(), *content)

    legend = legend_of(names) if len(names) > 2 else ""
    return twice(
        "ratios", "Ratios", "Latencies: left of 1 is faster. Throughput: right of 1 is faster.", draw, legend
    )


def ratio_text(change: Change) -> str:
    """A ratio with its interval."""
    if change.interval is None:
        return f"{change.ratio:.3f}x"
    return f"{change.ratio:.3f}x ({change.interval[0]:.3f}\N{EN DASH}{change.interval[1]:.3f})"


def _figures(row: Shared, names: Sequence[str]) -> Markup:
    head = ["", names[0], *(part for name in names[1:] for part in (name, "ratio"))]
    lines = []
    for metric in SHOWN:
        cells = [f"{metric}, {'images/s' if metric == 'throughput' else 'ms'}"]
        for changes in row.changes:
            for change in changes:
                if change.metric == metric:
                    cells += ([number(change.first)] if len(cells) == 1 else []) + [
                        number(change.value),
                        ratio_text(change),
                    ]
        lines.append([text(cell) for cell in cells])
    return grid(head, lines)
