"""`pinnace verify`: whether a bundle is unchanged since its export, and gives the same outputs here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pinnace.cli.options import BundleArgument, Json, ProgressOption


def verify(
    bundle: BundleArgument,
    variant: Annotated[
        str | None, typer.Option(help="Only this variant, such as onnx-fp32.", show_default="all")
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="Only in this runtime, such as onnxruntime.", show_default="all that work here"),
    ] = None,
    progress: ProgressOption = None,
    json: Json = False,
) -> None:
    """Check every file's hash, the preprocessing, and every variant against the golden outputs."""
    from pinnace.cli.commands.inspect import agreement, compared_on
    from pinnace.cli.console import err, only_data, out, plain, print_json, print_note
    from pinnace.cli.progress import steps
    from pinnace.cli.tables import numbers, print_table, texts
    from pinnace.export.validation.verify import passed, verify_bundle, worthless
    from pinnace.models.bundle.bundle import Bundle

    opened = Bundle.open(bundle)
    with only_data(), steps(progress) as show:
        verdicts = verify_bundle(opened, variant=variant, runtime=runtime, progress=show)
    good, nothing = passed(verdicts), worthless(opened)
    if json:
        rows = [
            {
                **asdict(verdict.variant),
                "parity": None if verdict.parity is None else asdict(verdict.parity),
                "runtime": verdict.runtime,
                "passed": verdict.passed,
                "problem": verdict.problem,
            }
            for verdict in verdicts
        ]
        print_json({"bundle": str(bundle), "variants": rows, "passed": good, "note": nothing})
    else:
        agreed = "label agreement" if opened.outputs.several_labels else "top-1 agreement"
        columns = (
            *texts("variant", "runtime", "verdict"),
            *numbers("max abs", "max rel", "cosine", agreed, "compared on"),
        )
        words = {True: "[green]passed[/]", False: "[bold red]failed[/]", None: "[yellow]not run[/]"}
        table = []
        for verdict in verdicts:
            parity, tolerance = verdict.parity, verdict.variant.tolerance
            cells = (
                plain(verdict.variant.name),
                verdict.runtime or "",
                words[verdict.passed],
                "" if parity is None else f"{parity.max_abs:.2e}",
                "" if parity is None else f"{parity.max_rel:.2e}",
                "" if parity is None else f"{parity.cosine:.6f}",
                "" if parity is None else agreement(parity, tolerance),
                "" if parity is None else compared_on(parity, tolerance),
            )
            table.append(cells)
        print_table(out(), columns, table)
    for verdict in verdicts:
        if verdict.problem is not None:
            err().print(plain(f"{verdict.variant.name}: {verdict.problem}"), soft_wrap=True)
    if nothing is not None:
        print_note(nothing)
    if not good:
        raise typer.Exit(1)
