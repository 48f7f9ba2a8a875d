"""A soak as a picture: throughput over time, with the clock and the temperature under it."""

from __future__ import annotations

from collections.abc import Sequence

from pinnace.latency.numbers import number
from pinnace.latency.reports.chart import Panel, drawing
from pinnace.latency.reports.charts import LEFT, RIGHT, Figure, twice, x_ticks
from pinnace.latency.reports.scale import Scale, fit
from pinnace.latency.reports.svg import Markup
from pinnace.latency.result import Result
from pinnace.latency.result_parts import Soak

HEAD = ("", "seconds", "first, images/s", "last, images/s", "last / first", "throttling began")
_FOOT = 200.0


def cells(rows: Sequence[Result]) -> list[list[str]]:
    """A line for each row that was soaked."""
    return [[row.row, *_line(row.soak)] for row in rows if row.soak is not None]


def _line(soak: Soak) -> list[str]:
    point = soak.throttling
    began = "not seen" if point is None else f"after {point.seconds:.0f} s: {point.reason}"
    return [f"{soak.seconds:.0f}", number(soak.first), number(soak.last), f"{soak.ratio:.1%}", began]


def method(rows: Sequence[Result]) -> str:
    """What first and last are."""
    spans = sorted({row.soak.span_s for row in rows if row.soak is not None})
    if not spans:
        return ""
    return f"First and last are the throughput of the first and of the last {spans[0]:.0f} seconds."


def chart(row: Result) -> Figure | None:
    """Throughput over time, or None where the row was not soaked."""
    soak = row.soak
    if soak is None or len(soak.windows) < 2:
        return None
    windows = soak.windows
    length = windows[1].start_s - windows[0].start_s
    rates = [(each.start_s + length / 2, each.throughput) for each in windows]
    below = [
        ("CPU clock, MHz", [(each.start_s + length / 2, each.cpu_mhz) for each in windows if each.cpu_mhz]),
        ("GPU clock, MHz", [(each.start_s + length / 2, each.gpu_mhz) for each in windows if each.gpu_mhz]),
        (
            "hottest sensor, \N{DEGREE SIGN}C",
            [(each.start_s + length / 2, each.hottest_c) for each in windows if each.hottest_c is not None],
        ),
    ]
    known = [(name, points) for name, points in below if len(points) > 1]
    title = f"Throughput over time: {row.row}"

    def draw(width: int) -> Markup:
        x = Scale(0, soak.seconds, LEFT, width - RIGHT)
        ticks = x_ticks(width)
        top = Panel(x, fit([rate for _, rate in rates], _FOOT, 24, zero=True))
        top.axes(None if known else "s", "images / s", x_ticks=ticks)
        top.line(rates)
        for at, rate in rates:
            top.dot(at, rate, 0, f"{row.row}, {at:.0f} s: {number(rate)} images / s", small=True)
        if soak.throttling is not None:
            top.upright(min(soak.throttling.seconds, soak.seconds), "throttling", 8)
        content = [top.markup()]
        foot = _FOOT
        for i, (name, points) in enumerate(known):
            foot += 100
            scale = fit([y for _, y in points], foot, foot - 62, zero="clock" in name)
            panel = Panel(x, scale)
            panel.axes("s" if i == len(known) - 1 else None, name, x_ticks=ticks, y_ticks=3)
            panel.line(points, i + 1)
            content.append(panel.markup())
        return drawing(width, foot + 40, title, *content)

    caption = f"Windows of {length:.0f} s."
    if soak.throttling is not None:
        caption += f" Throttling after {soak.throttling.seconds:.0f} s: {soak.throttling.reason}."
    return twice("soak", title, caption, draw)
