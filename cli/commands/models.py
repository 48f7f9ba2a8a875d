"""`pinnace models`: the catalogue, and Pinnace's own networks."""

from __future__ import annotations

from dataclasses import astuple

from pinnace.cli.options import Json


def models(json: Json = False) -> None:
    """List the catalogue, whose real weights come as packages, and the networks that bring none."""
    from rich.table import Table

    from pinnace.cli.console import out, print_json
    from pinnace.models.loaders import all_loaders
    from pinnace.models.source import UNNAMED

    loaders = all_loaders().values()
    rows = [model for loader in loaders for model in loader.listed()]
    if json:
        keys = ("name", "input_size", "weights", "top1")
        print_json([dict(zip(keys, astuple(row), strict=True)) for row in rows])
        return
    table = Table("model", "input", "weights", "ImageNet top-1, published")
    for row in rows:
        top1 = "" if row.top1 is None else f"{row.top1:.1f} %"
        table.add_row(row.source, f"{row.size} x {row.size}", row.weights, top1)
    out().print(table)
    out().print(
        "Other sources: " + "; ".join(loader.form for loader in loaders if loader.kind != UNNAMED),
        markup=False,
    )
