"""The bars of rows, which a reader can put into another order: by radio buttons and CSS, without a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pinnace.latency.numbers import megabytes, ms, number
from pinnace.latency.reports.chart import words
from pinnace.latency.reports.charts import LABEL, NARROW, WIDE, Figure, cut
from pinnace.latency.reports.scale import Scale
from pinnace.latency.reports.svg import Markup, tag, text
from pinnace.latency.result import Result

_HEIGHT = 46
_FEW = 3
# In `style.css` there is a rule for each place.
_KEYS: tuple[tuple[str, Callable[[Result], float | None]], ...] = (
    ("p50", lambda row: row.p50_ms),
    ("p99", lambda row: row.p99_ms),
    ("images/s", lambda row: -row.throughput),
    ("file size", lambda row: row.file_bytes),
    ("top-1", lambda row: None if row.accuracy is None else -row.accuracy.top1),
)


def bars(results: Sequence[Result], names: Sequence[str], place: int) -> Figure:
    """p50, p90 and p99 of every row, as one bar in three steps.

    Args:
        results: the rows of one scenario.
        names: what to call them.
        place: of the scenario in the page, for the names of its controls.
    """
    longest = max(row.p99_ms for row in results) * 1.02
    orders = [("as measured", list(range(len(results))))]
    for key, value in _KEYS:
        values = [value(row) for row in results]
        known = sorted((each for each in values if each is not None), key=float)
        if len(set(known)) > 1:
            orders.append((key, [len(results) if each is None else known.index(each) for each in values]))
    lines = []
    for i, (row, name) in enumerate(zip(results, names, strict=True)):
        ranks = ";".join(f"--o{n}:{order[i]}" for n, (_, order) in enumerate(orders))
        drawn = [_bar(row, name, longest, width) for width in (WIDE, NARROW)]
        lines.append(tag("div", *drawn, class_="row", style=ranks))
    controls = []
    if len(results) >= _FEW:
        controls.append(tag("span", "order: ", class_="under"))
        for n, (key, _) in enumerate(orders):
            name = f"order-{place}"
            checked = "checked" if n == 0 else None
            controls.append(tag("input", type="radio", name=name, id=f"{name}-{n}", checked=checked))
            # A line may break behind a label, and not between a button and its label.
            controls += [tag("label", text(key), for_=f"{name}-{n}"), tag("span", " ", class_="gap")]
    markup = tag("div", *controls, tag("div", *lines, class_="rows"), class_="sortable")
    caption = "Milliseconds a query: the darkest step ends at p50, the next at p90, the lightest at p99."
    return Figure("bars", "Latency, p50 / p90 / p99", caption, markup)


def _bar(row: Result, name: str, longest: float, width: int) -> Markup:
    scale = Scale(0, longest, 2, width - (124 if width == WIDE else 112))
    content = [words(cut(name, LABEL * width // NARROW), 2, 14, "label")]
    for kind, value in (("p99", row.p99_ms), ("p90", row.p90_ms), ("p50", row.p50_ms)):
        long = max(1.0, scale(value) - 2)
        content.append(tag("rect", x=2, y=20, width=long, height=14, class_=f"bar {kind}"))
    values = " / ".join(map(number, (row.p50_ms, row.p90_ms, row.p99_ms)))
    content.append(words(values, scale(row.p99_ms) + 6, 32))
    return tag(
        "svg",
        tag("title", text(_said(row, name))),
        *content,
        viewBox=f"0 0 {width} {_HEIGHT}",
        width=width,
        height=_HEIGHT,
        role="img",
        class_="wide" if width == WIDE else "narrow",
    )


def _said(row: Result, name: str) -> str:
    parts = [f"{name}: p50 {ms(row.p50_ms)}, p90 {ms(row.p90_ms)}, p99 {ms(row.p99_ms)}"]
    parts.append(f"{number(row.throughput)} images/s")
    if row.file_bytes is not None:
        parts.append(f"file {megabytes(row.file_bytes)} MB")
    if row.accuracy is not None:
        parts.append(f"top-1 {row.accuracy.top1:.1%}")
    return ", ".join(parts)
