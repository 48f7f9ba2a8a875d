"""`pinnace targets`: the platforms that a bundle can be exported for."""

from __future__ import annotations

from pinnace.cli.options import Json


def targets(json: Json = False) -> None:
    """List the targets of `pinnace export`; a TOML file of your own is a target too."""
    from rich.table import Table

    from pinnace.cli.console import out, print_json
    from pinnace.export.targets import names, read

    found = {name: read(name) for name in names()}
    if json:
        print_json([{"name": name, **target.to_dict()} for name, target in found.items()])
        return
    table = Table("target", "what", "variants", "opset", "batch", "runtimes")
    for name, target in found.items():
        table.add_row(
            name,
            target.description,
            "\n".join(map(str, target.variants)),
            str(target.opset),
            "{} to {}".format(*target.batch),
            "\n".join(target.runtimes),
        )
    out().print(table)
