"""A latency report as Markdown, for an issue or a README."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from pinnace.latency.numbers import number
from pinnace.latency.report import LatencyReport
from pinnace.latency.reports import cold, facts


def render(report: LatencyReport) -> str:
    """The figures, the warnings, the machine and the settings; no pictures."""
    lines = [f"# {plain(facts.title(report))}", "", plain(facts.when(report)), ""]
    lines += [f"> **Note:** {plain(message)}\n" for message in facts.warnings(report)]
    for scenario, rows in facts.by_scenario(report).items():
        lines += [f"## {plain(scenario.capitalize())}", ""]
        ratios = any(row.ratio for row in rows)
        head = ["row", "batch", "p50 ms", "p90 ms", "p99 ms", "images/s", "cv", "queries"]
        cells = []
        for row in rows:
            values = [
                row.row,
                str(row.batch),
                *map(number, (row.p50_ms, row.p90_ms, row.p99_ms, row.throughput)),
            ]
            values += [f"{row.cv:.1%}", str(row.samples)]
            if ratios:
                values.append(f"{row.ratio.median:.2f}x" if row.ratio else "")
            cells.append(values)
        lines += [*table(head + ["speed"] * ratios, cells), ""]
    if starts := cold.cells(report.results):
        lines += ["## Cold start and memory", "", *table(cold.HEAD, starts), ""]
        lines += [plain(cold.method(report.results)), ""]
    if report.failures:
        lines += ["## Failed", "", *table(("row", "scenario", "why"), facts.failures(report)), ""]
    lines += ["## The machine", "", *table(("", ""), facts.device(report.device)), ""]
    lines += ["## How it was measured", "", *table(("", ""), facts.settings(report.settings)), ""]
    return "\n".join(lines)


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
