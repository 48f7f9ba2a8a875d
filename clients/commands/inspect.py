"""`pinnace inspect`: what is in a bundle."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pinnace.clients.options import BundleArgument, Json

if TYPE_CHECKING:
    from pinnace.models.bundle import Bundle
    from pinnace.models.preprocess import Preprocess


def inspect(bundle: BundleArgument, json: Json = False) -> None:
    """Show a bundle: source, preprocessing, signature, variants and their parity."""
    from pinnace.models.bundle import Bundle

    print_bundle(Bundle.open(bundle), json=json)


def print_bundle(bundle: Bundle, *, json: bool) -> None:
    """Print a bundle as JSON or as tables."""
    from rich.markup import escape
    from rich.table import Table

    from pinnace.clients.output import out, print_json

    manifest = bundle.manifest
    if json:
        print_json(to_dict(bundle))
        return
    facts = Table.grid(padding=(0, 2))
    rows = [
        ("bundle", str(bundle.folder)),
        ("model", bundle.name),
        ("source", manifest.source),
        ("preprocess", _describe(manifest.preprocess)),
        ("labels", f"{len(bundle.labels)}" if bundle.labels else "none"),
        ("inputs", ", ".join(map(str, manifest.signature.inputs))),
        ("outputs", ", ".join(map(str, manifest.signature.outputs))),
        ("exported", f"{manifest.created} by pinnace {manifest.tools.get('pinnace', '?')}"),
    ]
    for name, value in rows:
        facts.add_row(f"[bold]{name}[/]", escape(value))
    table = Table("variant", "size", "max abs", "max rel", "cosine", "top-1 agreement", "proved in")
    for variant in manifest.variants:
        parity = variant.parity
        if parity is None:
            table.add_row(variant.name, _size(variant.bytes), "", "", "", "", "[yellow]not proved[/]")
            continue
        agreement = "" if parity.top1_agreement is None else f"{parity.top1_agreement:.1%}"
        table.add_row(
            variant.name,
            _size(variant.bytes),
            f"{parity.max_abs:.2e}",
            f"{parity.max_rel:.2e}",
            f"{parity.cosine:.6f}",
            agreement,
            parity.runtime,
        )
    out().print(facts, table)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _describe(preprocess: Preprocess | None) -> str:
    if preprocess is None:
        return "none"
    parts = []
    if isinstance(preprocess.resize, int):
        parts.append(f"shortest edge to {preprocess.resize}, {preprocess.interpolation}")
    elif preprocess.resize is not None:
        height, width = preprocess.resize
        parts.append(f"resize to {height}x{width}, {preprocess.interpolation}")
    if preprocess.crop is not None:
        height, width = preprocess.crop
        parts.append(f"centre crop {height}x{width}")
    parts.append(preprocess.color)
    parts.append("mean " + " ".join(f"{value:.4g}" for value in preprocess.mean))
    parts.append("std " + " ".join(f"{value:.4g}" for value in preprocess.std))
    return "; ".join(parts)


def to_dict(bundle: Bundle) -> dict[str, Any]:
    """The bundle as `--json` prints it."""
    return {"bundle": str(bundle.folder), **asdict(bundle.manifest)}
