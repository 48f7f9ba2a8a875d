"""`pinnace eval`: the accuracy of a bundle on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinnace.cli.options import BundleArgument, Json, ProgressOption, ThreadsOption

if TYPE_CHECKING:
    from pinnace.export.validation.accuracy import VariantAccuracy


def eval(
    bundle: BundleArgument,
    images: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="One folder for each class, named after its label, WordNet id or index.",
            show_default=False,
        ),
    ],
    variant: Annotated[
        list[str] | None, typer.Option(help="Only this variant; repeatable.", show_default="all")
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(help="Only in this runtime; repeatable.", show_default="all that work here"),
    ] = None,
    threads: ThreadsOption = None,
    progress: ProgressOption = None,
    json: Json = False,
) -> None:
    """Top-1 and top-5 accuracy of every variant in every runtime, with 95 % intervals."""
    from rich.table import Table

    from pinnace.cli.console import bars, err, out, plain, print_json
    from pinnace.export.validation.accuracy import evaluate_bundle
    from pinnace.models.bundle.bundle import Bundle
    from pinnace.models.runtimes.base import RuntimeOptions

    opened = Bundle.open(bundle)
    with bars(progress) as show:
        rows, problems = evaluate_bundle(
            opened,
            images,
            variants=variant or (),
            runtimes=runtime or (),
            options=RuntimeOptions() if threads is None else RuntimeOptions(threads=threads),
            progress=show,
        )
    for problem in problems:
        err().print(plain(problem), soft_wrap=True)
    if json:
        print_json({"bundle": str(bundle), "variants": [_as_json(row) for row in rows]})
        return
    table = Table("variant", "runtime", "images", "top-1", "95 %", "top-5", "95 %")
    for row in rows:
        found = row.accuracy
        table.add_row(
            row.variant,
            row.runtime,
            str(found.images),
            f"{found.top1:.2%}",
            "{:.2%} to {:.2%}".format(*found.top1_interval),
            f"{found.top5:.2%}",
            "{:.2%} to {:.2%}".format(*found.top5_interval),
        )
    out().print(table)


def _as_json(row: VariantAccuracy) -> dict[str, Any]:
    return {
        "name": row.variant,
        "runtime": row.runtime,
        "images": row.accuracy.images,
        "top1": row.accuracy.top1,
        "top5": row.accuracy.top5,
        "top1_interval": row.accuracy.top1_interval,
        "top5_interval": row.accuracy.top5_interval,
    }
