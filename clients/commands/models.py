"""`pinnace models`: the catalogue."""

from __future__ import annotations

from pinnace.clients.options import Json


def models(json: Json = False) -> None:
    """List the catalogue: models whose real weights come as packages."""
    from rich.table import Table

    from pinnace.clients.output import out, print_json
    from pinnace.models.loaders.catalogue import CATALOGUE
    from pinnace.models.source import FORMS

    if json:
        print_json([{"name": e.name, "input_size": e.size, "top1": e.top1} for e in CATALOGUE.values()])
        return
    table = Table("model", "input", "ImageNet top-1, published")
    for entry in CATALOGUE.values():
        table.add_row(entry.name, f"{entry.size} x {entry.size}", f"{entry.top1:.1f} %")
    out().print(table)
    out().print(
        "Other sources: " + "; ".join(form for kind, form in FORMS.items() if kind != "catalogue"),
        markup=False,
    )
