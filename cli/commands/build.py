"""`pinnace build`: TensorRT engines for this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from pinnace.cli.options import Json, OwnBundleArgument, ProgressOption


def build(
    bundle: OwnBundleArgument,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="Only from this ONNX variant; repeatable.", show_default="every ONNX variant"),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="tensorrt or tensorrt_rtx.", show_default="the first that can build here"),
    ] = None,
    progress: ProgressOption = None,
    json: Json = False,
) -> None:
    """Build TensorRT engines for this machine, prove them if it has a GPU, and add them to the bundle."""
    from pinnace.cli.console import err, out, plain, print_error, print_json
    from pinnace.cli.progress import bars
    from pinnace.cli.tables import Column, print_table
    from pinnace.export.engines.build import build_variant, choose_builder, sources
    from pinnace.models.bundle.bundle import Bundle
    from pinnace.models.errors import CheckFailed
    from pinnace.models.files import size_text

    opened = Bundle.open(bundle)
    builder = choose_builder(runtime)
    rows: list[dict[str, Any]] = []
    failures: list[CheckFailed] = []
    for source in sources(opened, variant):
        try:
            with bars(progress) as show:
                built = build_variant(opened, source, builder, progress=show)
        except CheckFailed as error:
            failures.append(error)
            print_error(error)
            continue
        proved = None if built.parity is None else True
        problem = None if proved else "built, but not proved: this machine has no GPU"
        rows.append({**asdict(built), "runtime": builder.name, "passed": proved, "problem": problem})
    if json:
        print_json({"bundle": str(bundle), "variants": rows, "errors": [str(error) for error in failures]})
    elif rows:
        columns = (
            Column("variant"),
            Column("built from"),
            Column("size", right=True),
            Column("max rel", right=True),
            Column("GPU", wraps=True),
            Column(builder.name),
        )
        table = []
        for row in rows:
            engine, parity = row["engine"], row["parity"]
            cells = (
                row["name"],
                engine["source"],
                size_text(row["bytes"]),
                "not run" if parity is None else f"{parity['max_rel']:.2e}",
                plain(engine["gpu"] or "none"),
                engine["version"],
            )
            table.append(cells)
        print_table(out(), columns, table)
    for row in rows:
        if row["problem"]:
            err().print(plain(f"{row['name']}: {row['problem']}"), soft_wrap=True)
    if failures:
        raise typer.Exit(1)
