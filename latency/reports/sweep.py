"""The curves of a sweep: throughput and latency over the batch or the threads."""

from __future__ import annotations

from collections.abc import Sequence

from pinnace.latency.numbers import ms, number
from pinnace.latency.reports.chart import Panel, drawing
from pinnace.latency.reports.charts import LEFT, RIGHT, Figure, legend_of, twice, x_ticks
from pinnace.latency.reports.scale import Scale, fit
from pinnace.latency.reports.svg import Markup
from pinnace.latency.result import Result

_FOOT, _BELOW = 200.0, 420.0


def curves(rows: Sequence[Result]) -> Figure | None:
    """A line for each variant, runtime and value of what is not on the x axis, or None."""
    over = "batch" if len({row.batch for row in rows}) > 1 else "threads"
    known = [row for row in rows if row.threads is not None]
    if len({(row.batch, row.threads) for row in known}) < 2:
        return None
    other = "threads" if over == "batch" else "batch"
    several = len({getattr(row, other) for row in known}) > 1
    lines: dict[str, list[Result]] = {}
    for row in known:
        name = row.row
        if several:
            name += (
                f", {row.threads} thread{'s' * (row.threads != 1)}"
                if over == "batch"
                else f", batch {row.batch}"
            )
        lines.setdefault(name, []).append(row)
    xs = sorted({int(getattr(row, over)) for row in known})

    def draw(width: int) -> Markup:
        # Each value has a place of its own, since batches double.
        x = Scale(0, len(xs) - 1, LEFT, width - RIGHT - 8)
        above = Panel(x, fit([row.throughput for row in known], _FOOT, 24, zero=True))
        below = Panel(x, fit([row.p50_ms for row in known], _BELOW, _FOOT + 50, zero=True))
        above.axes(None, "images / s", x_ticks=x_ticks(width))
        below.axes(None, "p50, ms", x_ticks=x_ticks(width))
        below.x_values([(i, str(value)) for i, value in enumerate(xs)], over)
        for i, (name, members) in enumerate(lines.items()):
            ordered = sorted(members, key=lambda row: int(getattr(row, over)))
            places = [xs.index(int(getattr(row, over))) for row in ordered]
            above.line([(at, row.throughput) for at, row in zip(places, ordered, strict=True)], i)
            below.line([(at, row.p50_ms) for at, row in zip(places, ordered, strict=True)], i)
            for at, row in zip(places, ordered, strict=True):
                said = f"{name}, {over} {xs[at]}: {number(row.throughput)} images/s, p50 {ms(row.p50_ms)}"
                above.dot(at, row.throughput, i, said)
                below.dot(at, row.p50_ms, i, said)
        return drawing(
            width, _BELOW + 40, f"Throughput and latency over the {over}", above.markup(), below.markup()
        )

    caption = "Of a call of several images, p50 is the time of the whole call."
    return twice("sweep", f"Throughput and latency over the {over}", caption, draw, legend_of(list(lines)))
