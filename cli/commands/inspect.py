"""`pinnace inspect`: the contents of a bundle."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pinnace.cli.options import BundleArgument, Json
from pinnace.models.bundle.manifest import Variant
from pinnace.models.bundle.measurements import FEWEST_FOR_SHARES, Accuracy, Parity, Proof, Tolerance

if TYPE_CHECKING:
    from pinnace.models.bundle.bundle import Bundle


PARITY_IS_NOT_ACCURACY = (
    "The table says how far each variant lies from the model itself, and not how often the model is right: "
    "pinnace eval {} {} says that"
)

COUNTED = (
    "The last column says how often each variant was right on {} labelled images of the export. The others "
    "say how far it lies from the model itself"
)


def inspect(bundle: BundleArgument, json: Json = False) -> None:
    """Show a bundle: source, preprocessing, signature, variants and their parity."""
    from pinnace.models.bundle.bundle import Bundle

    print_bundle(Bundle.open(bundle), json=json)


def print_bundle(bundle: Bundle, *, json: bool) -> None:
    """Print a bundle as JSON or as tables."""
    from pinnace.cli.console import out, plain, print_json
    from pinnace.cli.tables import Column, numbers, print_table, texts
    from pinnace.models.files import size_text

    manifest = bundle.manifest
    if json:
        print_json(to_dict(bundle))
        return
    rows = [
        ("bundle", str(bundle.folder)),
        ("model", bundle.name),
        ("source", manifest.source),
        ("preprocess", str(manifest.preprocess or "none")),
        ("labels", f"{len(bundle.labels)}" if bundle.labels else "none"),
        ("inputs", ", ".join(map(str, manifest.signature.inputs))),
        ("outputs", ", ".join(map(str, manifest.signature.outputs))),
        ("answers", str(bundle.outputs)),
        ("exported", f"{manifest.created} by pinnace {manifest.tools.get('pinnace', '?')}"),
    ]
    facts = [(f"[bold]{name}[/]", plain(value)) for name, value in rows]
    print_table(out(), (Column(), Column(wraps=True)), facts)
    counted = [variant.accuracy for variant in manifest.variants if variant.accuracy is not None]
    agreed = "label agreement" if bundle.outputs.several_labels else "top-1 agreement"
    columns = (
        Column("variant"),
        *numbers("size", "max abs", "max rel", "cosine", agreed, "compared on"),
        *texts("proved in", "top-1, right"),
    )
    table = []
    for variant in manifest.variants:
        measured = shown(variant)
        right = _right(variant.accuracy)
        if measured is None:
            found = ("", "", "", "", "", "[yellow]not proved[/]")
        else:
            found = (
                f"{measured.max_abs:.2e}",
                f"{measured.max_rel:.2e}",
                f"{measured.cosine:.6f}",
                agreement(measured, variant.tolerance),
                compared_on(measured, variant.tolerance),
                plain(measured.runtime),
            )
        table.append((plain(variant.name), size_text(variant.bytes), *found, right))
    out().print()
    print_table(out(), columns, table)
    if counted:
        out().print(COUNTED.format(counted[0].images), soft_wrap=True)
    elif bundle.labels:
        given = "--images DIR, with a folder for each class,"
        if bundle.outputs.several_labels:
            given = "--truth FILE.csv, with the labels of each image,"
        out().print(PARITY_IS_NOT_ACCURACY.format(plain(str(bundle.folder)), given), soft_wrap=True)


def _right(accuracy: Accuracy | None) -> str:
    """Top-1, with its 95 % interval."""
    if accuracy is None:
        return ""
    low, high = accuracy.top1_interval
    return f"{accuracy.top1:.1%} ({low:.0%} to {high:.0%})"


def shown(variant: Variant) -> Parity | Proof | None:
    """The most telling comparison: on photographs for a lower precision, else the parity."""
    return (variant.proof if variant.tolerance.photographs_only else None) or variant.parity


def agreement(measured: Parity | Proof, tolerance: Tolerance) -> str:
    """The agreement of the answers as text; empty where a lower precision was compared on few photographs."""
    share = measured.label_agreement if measured.top1_agreement is None else measured.top1_agreement
    few = tolerance.photographs_only and _samples(measured) < FEWEST_FOR_SHARES
    return "" if share is None or few else f"{share:.1%}"


def compared_on(measured: Parity | Proof, tolerance: Tolerance) -> str:
    """How many photographs or inputs it was compared on."""
    photographs = tolerance.photographs_only or isinstance(measured, Proof)
    return f"{_samples(measured)} {'photographs' if photographs else 'inputs'}"


def _samples(measured: Parity | Proof) -> int:
    return measured.images if isinstance(measured, Proof) else measured.samples


def to_dict(bundle: Bundle) -> dict[str, Any]:
    """The bundle as `--json` prints it."""
    return {"bundle": str(bundle.folder), **asdict(bundle.manifest), "outputs": asdict(bundle.outputs)}
