"""A suite's report as a page: what each network does here and elsewhere, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence

from pinnace.latency.numbers import number
from pinnace.latency.report import LatencyReport
from pinnace.latency.reports import facts, suite
from pinnace.latency.reports.chart import SERIES, Panel, drawing, words
from pinnace.latency.reports.charts import RIGHT, WIDE, Figure, twice, x_ticks
from pinnace.latency.reports.html import document, figure, grid, table, warnings
from pinnace.latency.reports.scale import Scale, fit
from pinnace.latency.reports.svg import Markup, tag, text

_STEP = 24


def render(report: LatencyReport) -> str:
    """A suite's report as one HTML document."""
    title = facts.title(report)
    content = [
        tag("h1", text(title)),
        tag("p", text(facts.when(report)), class_="under"),
        warnings(suite.warnings(report)),
    ]
    for each in suite.tables(report):
        content += [tag("h2", text(each.title)), _figures(each), _below(each), figure(dots(each))]
    content += [tag("h2", "Latencies"), _latencies(report)]
    content += [tag("h2", "The machine"), table(facts.device(report.device))]
    content += [tag("h2", "How it was measured"), table(facts.settings(report.settings))]
    return document(title, content)


def _figures(each: suite.SuiteTable) -> Markup:
    head = ["images a second", "input", *each.scenarios.values(), *each.columns]
    lines = []
    for line in each.lines:
        cells = [_marked(line.name, each.mark(line.note)), text(line.size)]
        cells += [text(suite.fps(line.results.get(name))) for name in each.scenarios]
        if not line.results:
            cells[2] = text("failed")
        for column in each.columns:
            value = line.published.get(column)
            cells.append("" if value is None else _marked(f"{value.fps:g}", each.mark(value.note)))
        lines.append(cells)
    return grid(head, lines)


def _marked(content: str, mark: str) -> Markup:
    return text(content) + (tag("sup", text(mark)) if mark else "")


def _below(each: suite.SuiteTable) -> Markup:
    paragraphs = [
        tag("b", text(line.name)) + text(f": {line.problem}") for line in each.lines if line.problem
    ]
    notes = [tag("sup", text(each.mark(note))) + text(f" {note}") for note in each.notes()]
    paragraphs += ["; ".join(notes)] if notes else []
    paragraphs += [text(f"{', '.join(one.columns)}: {one.source}") for one in suite.sources(each)]
    return "".join(tag("p", one, class_="note") for one in paragraphs)


def dots(each: suite.SuiteTable) -> Figure:
    """Images a second of every network, on a logarithmic axis: measured ones and published ones."""
    lines = [line for line in each.lines if line.results]
    names = [*(f"here, {over}" for over in each.scenarios.values()), *each.columns]
    series = {name: i for i, name in enumerate((*each.scenarios, *each.columns))}
    values = [result.throughput for line in lines for result in line.results.values()]
    values += [value.fps for line in lines for value in line.published.values()]

    def draw(width: int) -> Markup:
        left = 124 if width == WIDE else 116
        foot = 24.0 + _STEP * len(lines)
        panel = Panel(fit(values, left, width - RIGHT, log=True), Scale(0, 1, foot, 20))
        panel.x_axis("images / s, logarithmic", x_ticks(width) - 1)
        guides, content = [], []
        for i, line in enumerate(lines):
            at = 1 - (i + 0.5) / len(lines)
            content.append(words(line.name, 2, panel.y(at) + 4))
            places = [(series[name], name, value.fps) for name, value in line.published.items()]
            places += [(series[name], f"here, {name}", r.throughput) for name, r in line.results.items()]
            y = panel.y(at)
            guides.append(tag("line", x1=left, x2=width - RIGHT, y1=y, y2=y, class_="grid"))
            for number_of, name, value in places:
                tooltip = f"{line.name}: {name} {number(value)} images a second"
                panel.dot(value, at, number_of, tooltip, hollow=name in each.columns)
        return drawing(width, foot + 40, f"Images a second: {each.title}", *guides, panel.markup(), *content)

    caption = "Each step of the axis is a factor. Full dots were measured here, hollow ones are published."
    legend = _legend(names, len(each.scenarios))
    return twice("suite", "Images a second", caption, draw, legend)


def _legend(names: Sequence[str], measured: int) -> Markup:
    items = []
    for i, name in enumerate(names):
        kind = "dot" if i < measured else "hollow"
        dot = tag("circle", cx=6, cy=6, r=4, class_=f"{kind} s{i % SERIES}")
        items.append(tag("li", tag("svg", dot, width=12, height=12), text(name)))
    return tag("ul", *items, class_="legend")


def _latencies(report: LatencyReport) -> Markup:
    several = len({row.row for row in report.results}) > 1
    head = ["ms", "scenario", "p50", "p90", "p99", "max", "cv", "images/s", "queries"]
    lines = []
    for row in report.results:
        cells = [f"{row.model} {row.row}" if several else row.model, f"{row.scenario}, batch {row.batch}"]
        cells += [number(value) for value in (row.p50_ms, row.p90_ms, row.p99_ms, row.max_ms)]
        cells += [f"{row.cv:.1%}", number(row.throughput), f"{row.samples:,}"]
        lines.append([text(cell) for cell in cells])
    return grid(head, lines)
