"""`pinnace eval`: the accuracy of a bundle on labelled images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinnace.cli.options import BundleArgument, Json, NoProfileOption, OnDeviceOption, ProgressOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinnace.export.validation.accuracy import VariantAccuracy
    from pinnace.models.bundle.bundle import Bundle
    from pinnace.models.runtimes.base import RuntimeOptions


def eval(
    bundle: BundleArgument,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="One folder for each class, named after its label, WordNet id or index.",
            show_default=False,
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Lines of `file,LABEL|LABEL`, or a column of 0 and 1 for each label: for a model of which "
            "several labels may be true. Files count from --images, or from the CSV file's folder.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Score from which on a label counts as true, where several may be.",
            show_default="the bundle's",
        ),
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="Only this variant; repeatable.", show_default="all")
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(help="Only in this runtime; repeatable.", show_default="all that work here"),
    ] = None,
    device: OnDeviceOption = None,
    no_profile: NoProfileOption = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads of one call; the other CPUs have calls too.", show_default="1"),
    ] = None,
    progress: ProgressOption = None,
    json: Json = False,
) -> None:
    """Top-1 and top-5 accuracy of every variant in every runtime, with 95 % intervals.

    What `pinnace tune` chose for this machine is among them, even in a runtime that has to be asked for.

    Where several labels may be true, mean average precision and F1 instead, in all and by label.
    """
    from pinnace.cli.console import err, out, plain, print_json, print_note
    from pinnace.cli.progress import bars
    from pinnace.cli.tables import numbers, print_table, texts
    from pinnace.export.validation.accuracy import evaluate_bundle
    from pinnace.export.validation.photographs import bulk_options
    from pinnace.models.bundle.bundle import Bundle
    from pinnace.models.errors import UsageError
    from pinnace.models.selection import answering, select
    from pinnace.models.uses import require

    opened = Bundle.open(bundle)
    tuned = select(opened, device=device, use_profile=not (no_profile or variant or runtime))
    if tuned.note is not None:
        print_note(tuned.note)
    chosen = None if tuned.profile is None else tuned.profile.configuration
    also = () if chosen is None else ((chosen.variant, chosen.runtime),)
    runtime_options = bulk_options(threads or 1, device)
    if truth is not None:
        _eval_labels(
            opened,
            truth,
            images,
            threshold,
            variant or (),
            runtime or (),
            also,
            runtime_options,
            progress,
            json=json,
        )
        return
    require("classify", opened)
    if images is None:
        raise UsageError(
            f"how often {opened.name} is right is measured on images whose class is known",
            hint="give --images DIR with a folder for each class, or, where several labels may be true, "
            "--truth FILE.csv",
        )
    if threshold is not None:
        raise UsageError("--threshold goes with --truth, where several labels may be true")
    with bars(progress) as show:
        rows, problems = evaluate_bundle(
            opened,
            images,
            variants=variant or (),
            runtimes=runtime or (),
            also=also,
            options=runtime_options,
            progress=show,
        )
    for problem in problems:
        err().print(plain(problem), soft_wrap=True)
    first, where = answering(opened, select(opened, device=device, use_profile=not no_profile))
    if json:
        answers = {"variant": first, "runtime": where}
        data = [_as_json(row) for row in rows]
        print_json({"bundle": str(bundle), "variants": data, "answers_with": answers})
        return
    columns = (*texts("variant", "runtime"), *numbers("images", "top-1", "95 %", "top-5", "95 %"))
    table = []
    for row in rows:
        found = row.accuracy
        cells = (
            row.variant,
            row.runtime,
            str(found.images),
            f"{found.top1:.2%}",
            "{:.2%} to {:.2%}".format(*found.top1_interval),
            f"{found.top5:.2%}",
            "{:.2%} to {:.2%}".format(*found.top5_interval),
        )
        table.append(cells)
    print_table(out(), columns, table)
    if (first, where) in [(row.variant, row.runtime) for row in rows]:
        print_note(f"where none is named, {opened.name} answers with {first} in {where}")


def _eval_labels(
    bundle: Bundle,
    truth: Path,
    images: Path | None,
    threshold: float | None,
    variants: Sequence[str],
    runtimes: Sequence[str],
    also: Sequence[tuple[str, str]],
    options: RuntimeOptions,
    progress: bool | None,
    *,
    json: bool,
) -> None:
    """Several labels: mean average precision and F1, in all and by label."""
    from pinnace.cli.console import err, out, plain, print_json
    from pinnace.cli.progress import bars
    from pinnace.cli.tables import Column, numbers, print_table, texts
    from pinnace.export.truth import read_truth
    from pinnace.export.validation.label_accuracy import evaluate_labels
    from pinnace.models.uses import require

    require("classify", bundle)
    read = read_truth(truth, images, bundle.labels)
    with bars(progress) as show:
        rows, problems = evaluate_labels(
            bundle,
            read,
            threshold=threshold,
            variants=variants,
            runtimes=runtimes,
            also=also,
            options=options,
            progress=show,
        )
    for problem in problems:
        err().print(plain(problem), soft_wrap=True)
    if json:
        print_json(
            {
                "bundle": str(bundle.folder),
                "variants": [{"name": row.variant, **asdict(row)} for row in rows],
            }
        )
        return
    columns = (
        *texts("variant", "runtime"),
        *numbers("images", "threshold", "mAP", "F1, mean of labels", "F1, all together"),
    )
    table = [
        (
            row.variant,
            row.runtime,
            str(row.images),
            f"{row.threshold:g}",
            f"{row.mean_average_precision:.2%}",
            f"{row.macro_f1:.2%}",
            f"{row.micro_f1:.2%}",
        )
        for row in rows
    ]
    print_table(out(), columns, table)
    heads = numbers("images", *(f"{row.variant} in {row.runtime}: AP, F1" for row in rows))
    by_label = []
    for index, label in enumerate(bundle.labels):
        found = [row.labels[index] for row in rows]
        cells = [
            f"{'-' if one.average_precision is None else f'{one.average_precision:.2%}'}  {one.f1:.2%}"
            for one in found
        ]
        by_label.append((plain(label), str(found[0].positives), *cells))
    out().print()
    print_table(out(), (Column("label", wraps=True), *heads), by_label)


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
