"""`pinnace doctor`: which runtimes and steps work here, and why not."""

from __future__ import annotations

from pinnace.cli.options import Json


def doctor(json: Json = False) -> None:
    """Say what works on this machine, and the line that installs what does not."""
    from rich.markup import escape
    from rich.table import Table

    from pinnace.cli.console import out, print_json
    from pinnace.cli.diagnosis import diagnose

    findings = diagnose()
    if json:
        print_json(findings)
        return
    table = Table("what", "works", "version", "otherwise")
    for finding in findings:
        table.add_row(
            finding.name,
            "[green]yes[/]" if finding.problem is None else "[yellow]no[/]",
            finding.version or "",
            escape(": ".join(filter(None, (finding.problem, finding.install_line)))),
        )
    out().print(table)
