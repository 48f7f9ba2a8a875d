"""`pinnace models`: the catalogue, and Pinnace's own networks."""

from __future__ import annotations

from dataclasses import astuple

from pinnace.cli.options import Json


def models(json: Json = False) -> None:
    """List the catalogue, whose real weights come as packages, and the networks that bring none."""
    from pinnace.cli.console import out, plain, print_json
    from pinnace.cli.tables import Column, print_table
    from pinnace.models.loaders import all_loaders
    from pinnace.models.source import UNNAMED

    loaders = all_loaders().values()
    rows = [model for loader in loaders for model in loader.listed()]
    if json:
        keys = ("name", "input_size", "weights", "top1")
        print_json([dict(zip(keys, astuple(row), strict=True)) for row in rows])
        return
    columns = (
        Column("model"),
        Column("input", right=True),
        Column("weights", wraps=True),
        Column("ImageNet top-1, published", right=True),
    )
    cells = [
        (
            row.source,
            f"{row.size} x {row.size}",
            row.weights,
            "" if row.top1 is None else f"{row.top1:.1f} %",
        )
        for row in rows
    ]
    print_table(out(), columns, cells)
    out().print("Other sources:")
    for loader in loaders:
        if loader.kind != UNNAMED:
            out().print(f"  {plain(loader.form)}", soft_wrap=True)
