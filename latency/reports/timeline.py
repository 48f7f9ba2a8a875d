"""Latency over time, with the machine's clock, temperature and load under it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pinnace.latency.device.types import DeviceSample
from pinnace.latency.numbers import ms, number
from pinnace.latency.reports.chart import Panel, drawing
from pinnace.latency.reports.charts import LEFT, RIGHT, Figure, twice, unit, x_ticks
from pinnace.latency.reports.scale import Scale, fit, wants_log
from pinnace.latency.reports.svg import Markup
from pinnace.latency.result import Result

_COLUMNS = 240  # more strokes beside each other cannot be told apart
_MOMENTS = 60  # that the pointer can rest on
_FOOT = 190.0


def timeline(row: Result) -> Figure | None:
    """Latency over time, or None where the single latencies are not kept."""
    times, values = row.latencies.start_s, row.latencies.latency_ms
    if not values:
        return None
    log = wants_log(values)
    below = _states(row.state.timeline)
    end = max(times[-1], *(sample.seconds for sample in row.state.timeline), 1e-3)
    title = f"Latency over time: {row.row}"

    def draw(width: int) -> Markup:
        x = Scale(0, end, LEFT, width - RIGHT)
        ticks = x_ticks(width)
        top = Panel(x, fit(values, _FOOT, 24, log=log))
        top.axes(None if below else "s", unit(log), x_ticks=ticks)
        top.spans(_columns(times, values, end))
        for begin, until, said in _moments(times, values, end):
            top.hover(begin, until, said)
        content = [top.markup()]
        foot = _FOOT
        for i, (name, points) in enumerate(below):
            foot += 100
            # A clock that trembles must not look like one that falls, so its axis begins at 0.
            scale = fit([y for _, y in points], foot, foot - 62, zero=not name.startswith("temperature"))
            panel = Panel(x, scale)
            panel.axes("s" if i == len(below) - 1 else None, name, x_ticks=ticks, y_ticks=3)
            panel.line(points, i + 1)
            content.append(panel.markup())
        return drawing(width, foot + 40, title, *content)

    caption = "Each stroke spans the shortest to the longest latency of its moment."
    if not any("clock" in name for name, _ in below):
        caption += " This machine does not say its clock."
    return twice("timeline", title, caption, draw)


def _columns(times: Sequence[float], values: Sequence[float], end: float) -> list[tuple[float, float, float]]:
    found: dict[int, tuple[float, float]] = {}
    for moment, value in zip(times, values, strict=False):
        column = min(_COLUMNS - 1, int(moment / end * _COLUMNS))
        low, high = found.get(column, (value, value))
        found[column] = min(low, value), max(high, value)
    return [((column + 0.5) * end / _COLUMNS, low, high) for column, (low, high) in sorted(found.items())]


def _moments(times: Sequence[float], values: Sequence[float], end: float) -> list[tuple[float, float, str]]:
    """What to say where the pointer rests: the shortest and the longest latency of a part of the time."""
    found: dict[int, list[float]] = {}
    for moment, value in zip(times, values, strict=False):
        found.setdefault(min(_MOMENTS - 1, int(moment / end * _MOMENTS)), []).append(value)
    width = end / _MOMENTS
    return [
        (
            part * width,
            (part + 1) * width,
            f"{number(part * width)} to {number((part + 1) * width)} s: {len(inside):,} queries, "
            f"{number(min(inside))} to {ms(max(inside))}",
        )
        for part, inside in sorted(found.items())
    ]


def _states(samples: Sequence[DeviceSample]) -> list[tuple[str, list[tuple[float, float]]]]:
    """What is known over time, with its unit; series of a single point are left out."""
    hottest = _hottest(samples)
    series: list[tuple[str, Callable[[DeviceSample], float | None]]] = [
        ("GPU clock, MHz", lambda sample: sample.gpu_clock_mhz),
        ("CPU clock, MHz", lambda sample: sample.cpu_mhz),
        (f"temperature of {hottest}, \N{DEGREE SIGN}C", lambda sample: sample.temperatures_c.get(hottest)),
        ("CPUs busy with other processes", lambda sample: sample.other_load),
    ]
    found = []
    for name, value in series:
        points = [
            (sample.seconds, y)
            for sample in samples
            if sample.seconds >= 0 and (y := value(sample)) is not None
        ]
        if len(points) > 1:
            found.append((name, points))
    return found


def _hottest(samples: Sequence[DeviceSample]) -> str:
    readings = [(value, name) for sample in samples for name, value in sample.temperatures_c.items()]
    return max(readings)[1] if readings else ""
