"""`pinnace doctor`: which runtimes and commands work on this machine, and why others do not."""

from __future__ import annotations

from pinnace.cli.options import Json


def doctor(json: Json = False) -> None:
    """Show what works on this machine, and how to install what does not."""
    from pinnace.cli.console import out, plain, print_json
    from pinnace.cli.diagnosis import diagnose
    from pinnace.cli.tables import Column, print_table

    findings = diagnose()
    if json:
        print_json(findings)
        return
    columns = (Column("what"), Column("works"), Column("version", wraps=True), Column("problem", wraps=True))
    rows = [
        (
            finding.name,
            "[green]yes[/]" if finding.problem is None else "[yellow]no[/]",
            finding.version or "",
            plain(": ".join(filter(None, (finding.problem, finding.install_line)))),
        )
        for finding in findings
    ]
    print_table(out(), columns, rows)
