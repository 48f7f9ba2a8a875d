"""The pictures of a report. Each is drawn twice, for a wide page and for a narrow one."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pinnace.latency.numbers import ms, number
from pinnace.latency.reports.chart import SERIES, Panel, drawing, words
from pinnace.latency.reports.scale import Scale, fit, label, wants_log
from pinnace.latency.reports.svg import Markup, tag, text
from pinnace.latency.result import Result
from pinnace.latency.statistics import percentile

WIDE, NARROW = 720, 328
LEFT, RIGHT = 48, 12
LABEL = 42  # letters that a narrow picture has room for
_FEW = 20


@dataclass(frozen=True)
class Figure:
    """A picture with what to read beside it.

    Attributes:
        kind: `bars`, `cdf`, `histogram`, `timeline`, `rates` or `ratios`.
        title: what it shows.
        caption: how to read it, in plain words.
        markup: the drawings, and a legend where there is more than one series.
    """

    kind: str
    title: str
    caption: str
    markup: Markup


def twice(kind: str, title: str, caption: str, draw: Callable[[int], Markup], legend: Markup = "") -> Figure:
    """A figure from a function that draws it at a width."""
    return Figure(kind, title, caption, legend + draw(WIDE) + draw(NARROW))


def cut(content: str, room: int) -> str:
    """Words, short enough for so many letters."""
    return content if len(content) <= room else f"{content[: room - 1]}\N{HORIZONTAL ELLIPSIS}"


def legend_of(names: Sequence[str]) -> Markup:
    """Which colour is which row; nothing for a single one."""
    if len(names) < 2:
        return ""
    items = []
    for i, name in enumerate(names):
        stroke = tag("path", d="M0 6H26", class_=f"line s{i % SERIES}")
        items.append(tag("li", tag("svg", stroke, width=26, height=12), text(name)))
    return tag("ul", *items, class_="legend")


def x_ticks(width: int) -> int:
    """How many values have room on the x axis."""
    return 8 if width == WIDE else 5


def unit(log: bool) -> str:
    """What stands at an axis of latencies."""
    return "ms, logarithmic" if log else "ms"


def bars(results: Sequence[Result]) -> Figure:
    """p50, p90 and p99 of every row, as one bar in three steps."""
    step = 46

    def draw(width: int) -> Markup:
        room = 124 if width == WIDE else 112
        scale = Scale(0, max(row.p99_ms for row in results) * 1.02, 2, width - room)
        content = []
        for i, row in enumerate(results):
            top = i * step
            content.append(words(row.row, 2, top + 14, "label"))
            for kind, value in (("p99", row.p99_ms), ("p90", row.p90_ms), ("p50", row.p50_ms)):
                tooltip = tag("title", text(f"{row.row}: {kind} {ms(value)}"))
                long = max(1.0, scale(value) - 2)
                content.append(
                    tag("rect", tooltip, x=2, y=top + 20, width=long, height=14, class_=f"bar {kind}")
                )
            values = " / ".join(map(number, (row.p50_ms, row.p90_ms, row.p99_ms)))
            content.append(words(values, scale(row.p99_ms) + 6, top + 32))
        return drawing(width, len(results) * step + 4, "p50, p90 and p99 of every row", *content)

    caption = "Milliseconds a query: the darkest step ends at p50, the next at p90, the lightest at p99."
    return twice("bars", "Latency, p50 / p90 / p99", caption, draw)


def cdf(results: Sequence[Result]) -> Figure | None:
    """The share of queries that were answered within a time."""
    rows = [
        (i, sorted(row.latencies.latency_ms)) for i, row in enumerate(results) if row.latencies.latency_ms
    ]
    if not rows:
        return None
    values = [value for _, ordered in rows for value in (ordered[0], ordered[len(ordered) // 2], ordered[-1])]
    log = wants_log(values)

    def draw(width: int) -> Markup:
        panel = Panel(fit(values, LEFT, width - RIGHT, log=log), Scale(0, 100, 270, 28))
        panel.axes(unit(log), "% of queries", x_ticks=x_ticks(width))
        for i, ordered in rows:
            panel.line(_steps(ordered), i)
            for percent in (50, 90, 99):
                value = percentile(ordered, percent)
                said = f"{results[i].row}: {percent} % within {ms(value)}"
                panel.dot(value, percent, i, said, small=True)
        return drawing(width, 310, "Share of queries answered within a time", panel.markup())

    caption = "The further left and the steeper, the better. Every query counts; nothing is cut off."
    legend = legend_of([row.row for row in results])
    return twice("cdf", "Share of queries answered within a time", caption, draw, legend)


def histogram(row: Result) -> Figure | None:
    """How often each latency occurred, or None where there are too few for a shape."""
    ordered = sorted(row.latencies.latency_ms)
    if len(ordered) < _FEW:
        return None
    log = wants_log(ordered)
    title = f"How often each latency occurred: {row.row}"

    def draw(width: int) -> Markup:
        x = fit((ordered[0], ordered[-1]), LEFT, width - RIGHT, log=log)
        edges = _edges(x, 60 if width == WIDE else 36)
        bins = list(itertools.pairwise(edges))
        heights = [bisect.bisect_left(ordered, high) - bisect.bisect_left(ordered, low) for low, high in bins]
        panel = Panel(x, Scale(0, max(heights) * 1.25, 190, 24))
        panel.axes(unit(log), "queries", x_ticks=x_ticks(width), y_ticks=4)
        outline = [(edges[0], 0.0)]
        for height, (low, high) in zip(heights, bins, strict=True):
            outline += [(low, float(height)), (high, float(height))]
        panel.area(outline)
        for height, (low, high) in zip(heights, bins, strict=True):
            if height:
                panel.hover(low, high, f"{number(low)} to {ms(high)}: {height:,} queries")
        for i, (kind, value) in enumerate((("p50", row.p50_ms), ("p90", row.p90_ms), ("p99", row.p99_ms))):
            panel.upright(min(max(value, x.low), x.high), f"{kind} {number(value)}", i)
        return drawing(width, 230, title, panel.markup())

    return twice("histogram", title, f"{row.samples:,} queries in {row.duration_s:.1f} s.", draw)


def rates(results: Sequence[Result], bound_ms: float | None) -> Figure | None:
    """Latency against throughput, of the server scenario."""
    rows = [(i, row) for i, row in enumerate(results) if row.rates]
    if not rows:
        return None
    points = [point for _, row in rows for point in row.rates]
    heights = [value for point in points for value in (point.p50_ms, point.p99_ms)]
    log = wants_log(heights)
    heights += [bound_ms] if bound_ms else []

    def draw(width: int) -> Markup:
        x = fit([point.achieved for point in points], LEFT, width - RIGHT, zero=True)
        panel = Panel(x, fit(heights, 290, 28, zero=True, log=log))
        panel.axes("images / s answered", unit(log), x_ticks=x_ticks(width))
        if bound_ms:
            panel.level(bound_ms, f"bound of p99: {label(bound_ms)} ms")
        for i, row in rows:
            ordered = sorted(row.rates, key=lambda point: point.rate)
            panel.line([(point.achieved, point.p50_ms) for point in ordered], i, "faint")
            panel.line([(point.achieved, point.p99_ms) for point in ordered], i)
            for point in ordered:
                tooltip = f"{row.row}: {point.rate:.4g}/s due, p50 {ms(point.p50_ms)}, p99 {ms(point.p99_ms)}"
                panel.dot(point.achieved, point.p99_ms, i, tooltip, hollow=not point.valid)
        return drawing(width, 330, "Latency against throughput", panel.markup())

    caption = (
        "Poisson arrivals; latency counts from the moment a query was due. The line with dots is p99, the "
        "faint one p50; a hollow dot is a rate that missed the bound or had errors."
    )
    legend = legend_of([row.row for row in results])
    return twice("rates", "Latency against throughput", caption, draw, legend)


def _steps(ordered: Sequence[float]) -> list[tuple[float, float]]:
    """Points of a distribution: all where they are few, else every 0.25 %, and more of the last 1 %."""
    count = len(ordered)
    tail = int(count * 0.99)
    stride, fine = max(1, count // 400), max(1, (count - tail) // 200)
    chosen = sorted({*range(0, tail, stride), *range(tail, count, fine), count - 1})
    return [(ordered[0], 0.0), *((ordered[i], 100 * (i + 1) / count) for i in chosen)]


def _edges(x: Scale, count: int) -> list[float]:
    if x.log:
        ratio = (x.high / x.low) ** (1 / count)
        return [x.low * ratio**i for i in range(count)] + [x.high]
    return [x.low + (x.high - x.low) * i / count for i in range(count)] + [x.high]
