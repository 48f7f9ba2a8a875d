"""`pinnace compare`: what changed between latency reports, with confidence intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinnace.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinnace.latency.comparison.compare import Shared, Violation


def compare(
    reports: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more reports of pinnace bench; the first is the baseline.",
            metavar="A.json B.json...",
            show_default=False,
        ),
    ],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            metavar="CONDITION",
            help="Exit with 1 if a row is so: 'p99 > 1.1x', 'p50 > 12ms' or 'throughput < 90/s'; repeatable.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page of HTML with charts.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Compare latency reports: ratios to the first, with their 95 % intervals."""
    from pinnace.cli.console import print_json, print_note
    from pinnace.latency.comparison import compare as comparison
    from pinnace.latency.comparison import conditions, page
    from pinnace.latency.report import read
    from pinnace.latency.reports.write import write_text
    from pinnace.models.errors import CheckFailed, UsageError

    if len(reports) < 2:
        raise UsageError("compare needs at least two reports", hint="pinnace compare A.json B.json")
    if report is not None and report.suffix != ".html":
        raise UsageError("--report writes HTML", expected="FILE.html", got=str(report))
    wanted = [conditions.parse(text) for text in fail_if or ()]
    opened = [read(path) for path in reports]
    names = _names(reports)
    rows = comparison.compare(opened, names)
    failed = comparison.violations(rows, wanted)
    sentences = [_sentence(each, names) for each in failed]
    if report is not None:
        write_text(report, page.render(opened, names, rows, sentences))
    if json:
        print_json(_as_json(reports, rows, failed, comparison.only_in(opened)))
    else:
        _print(names, rows)
        for name, others in zip(names, comparison.only_in(opened), strict=True):
            for other in others:
                print_note(f"only in {name}: {other}")
    if failed:
        raise CheckFailed(
            f"{len(failed)} of the conditions of --fail-if hold{'s' if len(failed) == 1 else ''}",
            expected=", ".join(f"not {condition}" for condition in wanted),
            got="; ".join(sentences),
        )


def _names(paths: Sequence[Path]) -> list[str]:
    """What to call the reports: their file's names, with folders where these are the same."""
    short = [path.stem for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _sentence(failure: Violation, names: Sequence[str]) -> str:
    from pinnace.latency.comparison.page import ratio_text

    change, condition = failure.change, failure.condition
    value = f"{change.value:.4g}{condition.unit}"
    if condition.unit == "x":
        value = f"{ratio_text(change)} of {names[0]}"
    return f"{failure.row}: {condition.metric} of {names[failure.report]} is {value}"


def _as_json(
    paths: Sequence[Path],
    rows: Sequence[Shared],
    failed: Sequence[Violation],
    only: Sequence[Sequence[str]],
) -> dict[str, Any]:
    return {
        "reports": [str(path) for path in paths],
        "rows": [
            {
                "name": row.name,
                "variant": row.results[0].variant,
                "runtime": row.results[0].runtime,
                "scenario": row.results[0].scenario,
                "compared": [
                    {"report": str(paths[place]), "metrics": {change.metric: change for change in changes}}
                    for place, changes in enumerate(row.changes, start=1)
                ],
            }
            for row in rows
        ],
        "only_in": {str(path): list(names) for path, names in zip(paths, only, strict=True)},
        "failures": [
            {
                "row": each.row,
                "report": str(paths[each.report]),
                "condition": str(each.condition),
                "value": each.change.value,
                "ratio": each.change.ratio,
            }
            for each in failed
        ],
    }


def _print(names: Sequence[str], rows: Sequence[Shared]) -> None:
    from pinnace.cli.console import out, plain
    from pinnace.cli.tables import Column, numbers, print_table
    from pinnace.latency.comparison.page import SHOWN
    from pinnace.latency.numbers import number
    from pinnace.models.printable import printable

    columns = [Column()]
    for place, name in enumerate(map(printable, names)):
        columns += numbers(name, "ratio", "95 %") if place else numbers(name)
    for row in rows:
        if row is not rows[0]:
            out().print()
        out().print(f"[bold]{plain(row.name)}[/]", soft_wrap=True)
        table = []
        for metric in SHOWN:
            cells: list[str] = []
            for changes in row.changes:
                for change in changes:
                    if change.metric != metric:
                        continue
                    cells += [number(change.first)] if not cells else []
                    between = "{:.3f} to {:.3f}".format(*change.interval) if change.interval else ""
                    cells += [number(change.value), f"{change.ratio:.3f}x", between]
            cells += [""] * (len(columns) - 1 - len(cells))
            table.append((f"{metric} {'images/s' if metric == 'throughput' else 'ms'}", *cells))
        print_table(out(), columns, table)
