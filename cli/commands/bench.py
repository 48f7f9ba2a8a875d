"""`pinnace bench`: how fast a bundle answers on this machine, or a server behind a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from pinnace.cli.bench.options import BenchOptions
from pinnace.cli.exit_status import INTERRUPTED
from pinnace.cli.options import Json, ProgressOption, command

if TYPE_CHECKING:
    from pinnace.latency.report import LatencyReport


@command
def bench(options: BenchOptions, progress: ProgressOption = None, json: Json = False) -> None:
    """Measure latency and throughput of a bundle on this machine, or of a server, under MLPerf's scenarios.

    A bundle gets its golden inputs, a server gets photographs.
    Every latency counts: none is clipped or left out. With --suite there is a row for each network, beside
    the figures that others have published for it.
    """
    from pinnace.cli.bench.measure import measure
    from pinnace.cli.bench.suite_table import print_suite
    from pinnace.cli.bench.table import print_report
    from pinnace.latency.reports.write import check_ending, write_report
    from pinnace.latency.suites.run import INTERRUPTED as INTERRUPTED_SUITE

    for path in options.report or ():
        check_ending(path)
    measured = measure(options, progress)
    for path in options.report or ():
        write_report(measured, path)
    if json:
        typer.echo(measured.to_json(samples=False), nl=False)
    elif options.suite is not None:
        print_suite(measured)
    else:
        print_report(measured)
    if INTERRUPTED_SUITE in measured.warnings:
        raise typer.Exit(INTERRUPTED)
    if measured.failures:
        _check_failures(measured)
    if options.fail_above is not None:
        _check_p99(measured, options.fail_above)


def _check_failures(report: LatencyReport) -> None:
    from pinnace.models.errors import CheckFailed

    first = report.failures[0]
    where = " under ".join(filter(None, (first.model, first.scenario)))
    others = f", and {len(report.failures) - 1} more" if len(report.failures) > 1 else ""
    raise CheckFailed(f"{where} has no figures{others}", got=first.message)


def _check_p99(report: LatencyReport, most_ms: float) -> None:
    from pinnace.models.errors import CheckFailed

    worst = max(report.results, key=lambda row: row.p99_ms)
    if worst.p99_ms > most_ms:
        raise CheckFailed(
            f"the 99th percentile of {worst.row} under {worst.scenario} is too high",
            expected=f"at most {most_ms:g} ms",
            got=f"{worst.p99_ms:.2f} ms",
        )
