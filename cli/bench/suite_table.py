"""A suite's report as tables on the terminal."""

from __future__ import annotations

from pinnace.cli.console import err, out, plain
from pinnace.cli.tables import numbers, print_table, texts
from pinnace.latency.numbers import number
from pinnace.latency.report import LatencyReport
from pinnace.latency.reports import suite
from pinnace.models.printable import printable


def print_suite(report: LatencyReport) -> None:
    """Print the tables on standard output, and what failed and what warns on standard error."""
    console = out()
    console.print(f"[bold]{plain(report.device.name)}[/], {plain(report.device.system)}; images a second")
    for each in suite.tables(report):
        console.print(f"\n[bold]{plain(each.title)}[/]")
        published = map(printable, each.columns)
        columns = (
            *texts("network", "input"),
            *numbers(*each.scenarios.values(), "p50 ms", "p99 ms", *published),
        )
        table = []
        for line in each.lines:
            single = line.results.get("single-stream")
            cells = [suite.fps(line.results.get(name)) for name in each.scenarios]
            if not line.results:
                cells[0] = "failed"
            cells += [number(single.p50_ms), number(single.p99_ms)] if single else ["", ""]
            for column in each.columns:
                value = line.published.get(column)
                cells.append("" if value is None else f"{value.fps:g}{each.mark(value.note)}")
            mark = each.mark(line.note)
            table.append((plain(f"{line.name} {mark}".strip()), line.size, *cells))
        print_table(console, columns, table)
        for note in each.notes():
            console.print(f"[dim]{each.mark(note)}: {plain(note)}[/]", soft_wrap=True)
        for one in suite.sources(each):
            console.print(f"[dim]{plain(', '.join(one.columns))}: {plain(one.source)}[/]", soft_wrap=True)
    console = err()
    for failure in report.failures:
        where = " ".join(part for part in (failure.model, failure.scenario) if part)
        console.print(f"[bold red]failed:[/] {plain(f'{where}: {failure.message}')}", soft_wrap=True)
    for message in suite.warnings(report):
        console.print(f"[yellow]note:[/] {plain(message)}", soft_wrap=True)
