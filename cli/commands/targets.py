"""`pinnace targets`: the platforms that a bundle can be exported for."""

from __future__ import annotations

from pinnace.cli.options import Json


def targets(json: Json = False) -> None:
    """List the targets of `pinnace export`; a TOML file of your own is a target too."""
    from pinnace.cli.console import out, print_json
    from pinnace.cli.tables import Column, print_table
    from pinnace.export.targets import names, read

    found = {name: read(name) for name in names()}
    if json:
        print_json([{"name": name, **target.to_dict()} for name, target in found.items()])
        return
    columns = (
        Column("target"),
        Column("what", wraps=True),
        Column("variants", wraps=True),
        Column("opset", right=True),
        Column("batch"),
        Column("runtimes", wraps=True),
    )
    rows = [
        (
            name,
            target.description,
            ", ".join(map(str, target.variants)),
            str(target.opset),
            "{} to {}".format(*target.batch),
            ", ".join(target.runtimes),
        )
        for name, target in found.items()
    ]
    print_table(out(), columns, rows)
