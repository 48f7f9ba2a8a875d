"""`pinnace models`: the catalogue, and the networks of our own."""

from __future__ import annotations

from pinnace.cli.options import Json


def models(json: Json = False) -> None:
    """List the catalogue, whose real weights come as packages, and the networks that bring none."""
    from rich.table import Table

    from pinnace.cli.console import out, print_json
    from pinnace.models.loaders.catalogue import CATALOGUE
    from pinnace.models.networks.darknet import NETWORKS
    from pinnace.models.source import FORMS

    rows: list[tuple[str, int, str, float | None]] = [
        *((entry.name, entry.size, "ImageNet", entry.top1) for entry in CATALOGUE.values()),
        *((f"darknet:{name}", network.size, "random, or a file", None) for name, network in NETWORKS.items()),
    ]
    if json:
        print_json([dict(zip(("name", "input_size", "weights", "top1"), row, strict=True)) for row in rows])
        return
    table = Table("model", "input", "weights", "ImageNet top-1, published")
    for name, size, weights, top1 in rows:
        table.add_row(name, f"{size} x {size}", weights, "" if top1 is None else f"{top1:.1f} %")
    out().print(table)
    out().print(
        "Other sources: " + "; ".join(form for kind, form in FORMS.items() if kind != "catalogue"),
        markup=False,
    )
