"""A suite's report as Markdown."""

from __future__ import annotations

from pinnace.latency.numbers import number
from pinnace.latency.report import LatencyReport
from pinnace.latency.reports import facts, suite
from pinnace.latency.reports.markdown import plain, table


def render(report: LatencyReport) -> str:
    """The tables, the notes, the machine and the settings; no pictures."""
    lines = [f"# {plain(facts.title(report))}", "", plain(facts.when(report)), ""]
    lines += [f"> **Note:** {plain(message)}\n" for message in suite.warnings(report)]
    for each in suite.tables(report):
        lines += [f"## {plain(each.title)}", "", *rows(each), ""]
    lines += ["## The machine", "", *table(("", ""), facts.device(report.device)), ""]
    lines += ["## How it was measured", "", *table(("", ""), facts.settings(report.settings)), ""]
    return "\n".join(lines)


def rows(each: suite.SuiteTable) -> list[str]:
    """One table with its notes."""
    single = "single-stream" in each.scenarios
    head = ["images a second", "input", *each.scenarios.values(), *(["p50 ms", "p99 ms"] if single else [])]
    cells = []
    for line in each.lines:
        mark = each.mark(line.note)
        values = [f"{line.name} ({mark})" if mark else line.name, line.size]
        values += [suite.fps(line.results.get(name)) for name in each.scenarios]
        if single:
            result = line.results.get("single-stream")
            values += ["", ""] if result is None else [number(result.p50_ms), number(result.p99_ms)]
        for column in each.columns:
            value = line.published.get(column)
            mark = each.mark(value.note) if value else ""
            values.append("" if value is None else f"{value.fps:g} ({mark})" if mark else f"{value.fps:g}")
        cells.append(values)
    lines = table([*head, *each.columns], cells)
    problems = [f"- {plain(line.name)}: {plain(line.problem)}" for line in each.lines if line.problem]
    notes = [f"- ({each.mark(note)}) {plain(note)}" for note in each.notes()]
    where = [f"- {', '.join(one.columns)}: {plain(one.source)}" for one in suite.sources(each)]
    return [*lines, "", *problems, *notes, *where]
