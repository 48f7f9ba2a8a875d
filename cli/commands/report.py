"""`pinnace report`: pages of reports, and an index over many devices and dates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pinnace.cli.options import Json


def report(
    reports: Annotated[
        Path,
        typer.Argument(
            help="A folder with reports of pinnace bench, or one report.",
            metavar="DIR|FILE.json",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The index, an .html file; for one report .html, .md, .csv or .json.",
            show_default="DIR/index.html; FILE.html",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write an index page over the reports in a folder, and the page of each beside it.

    JSON files that are not reports are named and left out. For a single report, write it in another format.
    """
    if reports.is_file():
        _one_report(reports, output or reports.with_suffix(".html"), json=json)
    else:
        _index(reports, output or reports / "index.html", json=json)


def _one_report(file: Path, path: Path, *, json: bool) -> None:
    from pinnace.cli.console import out, plain, print_json
    from pinnace.latency.report import read
    from pinnace.latency.reports.write import check_ending, write_report
    from pinnace.models.errors import UsageError

    check_ending(path)
    if path.absolute() == file.absolute():
        raise UsageError("the output would overwrite the report itself", hint="-o FILE.html")
    write_report(read(file), path)
    if json:
        print_json({"index": None, "reports": [{"file": str(file), "page": str(path)}], "damaged": []})
    else:
        out().print(plain(str(path)), soft_wrap=True)


def _index(folder: Path, path: Path, *, json: bool) -> None:
    from pinnace.cli.console import err, out, plain, print_json
    from pinnace.latency.reports import index
    from pinnace.latency.reports.write import check_ending, write_report, write_text
    from pinnace.models.errors import UsageError

    if path.suffix != ".html":
        raise UsageError("an index is written as HTML", expected="FILE.html", got=str(path))
    found = index.collect(folder, path)
    check_ending(path)
    for entry in found.entries:
        write_report(entry.report, entry.page)
    write_text(path, index.render(found, path))
    for problem in found.damaged:
        err().print(f"left out: {plain(problem)}", soft_wrap=True)
    if json:
        pages = [{"file": str(entry.file), "page": str(entry.page)} for entry in found.entries]
        print_json({"index": str(path), "reports": pages, "damaged": found.damaged})
    else:
        out().print(plain(str(path)), soft_wrap=True)
