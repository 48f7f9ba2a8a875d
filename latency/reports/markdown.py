"""A latency report as Markdown, for an issue or a README."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence

from pinnace.latency.numbers import megabytes, number
from pinnace.latency.report import LatencyReport
from pinnace.latency.reports import extras, facts
from pinnace.latency.reports.row_names import renamed
from pinnace.latency.result import Result


def render(report: LatencyReport) -> str:
    """The figures, the warnings, the machine and the settings; no pictures."""
    lines = [f"# {plain(facts.title(report))}", "", plain(facts.when(report)), ""]
    lines += [f"> **Note:** {plain(message)}\n" for message in facts.warnings(report)]
    for scenario, rows in facts.by_scenario(report).items():
        lines += [f"## {plain(scenario.capitalize())}", ""]
        lines += [*_figures(renamed(rows)), ""]
    for extra in extras.tables(report.results):
        lines += [f"## {extra.title}", "", *table(extra.head, extra.lines), "", plain(extra.method), ""]
    if report.failures:
        lines += ["## Failed", "", *table(("row", "scenario", "why"), facts.failures(report)), ""]
    lines += ["## The machine", "", *table(("", ""), facts.device(report.device)), ""]
    lines += ["## How it was measured", "", *table(("", ""), facts.settings(report.settings)), ""]
    return "\n".join(lines)


def _figures(rows: Sequence[Result]) -> list[str]:
    """The table of a scenario; columns in which no row has anything are left out."""
    columns: list[tuple[str, Callable[[Result], str]]] = [
        ("row", lambda row: row.row),
        ("batch", lambda row: str(row.batch)),
        ("p50 ms", lambda row: number(row.p50_ms)),
        ("p90 ms", lambda row: number(row.p90_ms)),
        ("p99 ms", lambda row: number(row.p99_ms)),
        ("p99.9 ms", lambda row: "" if row.p999_ms is None else number(row.p999_ms)),
        ("images/s", lambda row: number(row.throughput)),
        ("file MB", lambda row: megabytes(row.file_bytes)),
        ("cv", lambda row: f"{row.cv:.1%}"),
        ("queries", lambda row: str(row.samples)),
        ("top-1", lambda row: f"{row.accuracy.top1:.1%}" if row.accuracy else ""),
        ("speed", lambda row: f"{row.ratio.median:.2f}x" if row.ratio else ""),
    ]
    shown = [(name, cell) for name, cell in columns if any(cell(row) for row in rows)]
    return table([name for name, _ in shown], [[cell(row) for _, cell in shown] for row in rows])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of GitHub's Markdown; numbers stand to the right."""
    numeric = [
        bool(rows) and all(re.match(r"[\d.]", row[i]) for row in rows if row[i]) for i in range(len(head))
    ]
    rule = ["--:" if each and i else "---" for i, each in enumerate(numeric)]
    first, *others = [f"| {' | '.join(map(plain, line))} |" for line in (head, *rows)]
    return [first, f"|{'|'.join(rule)}|", *others]


def plain(value: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no end of a line or of a cell."""
    shown = "".join(char if char.isprintable() else " " for char in value)
    return re.sub(r"([\\`*_\[\]|#!~])", r"\\\1", html.escape(shown, quote=False))
