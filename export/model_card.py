"""A bundle's card for people: `README.md`."""

from __future__ import annotations

from collections.abc import Sequence

from pinnace.models.bundle.manifest import Manifest, Variant
from pinnace.models.bundle.measurements import Accuracy, Parity, Proof
from pinnace.models.files import size_text

FILE = "README.md"


def render(document: Manifest, labels: Sequence[str]) -> str:
    """The card: what it is, where from, what it wants, how exact and how large each variant is.

    Args:
        document: the manifest.
        labels: one class name per output, or none.
    """
    parts = [
        f"# {document.name}",
        f"A model carried from `{document.source}` by Pinnace {document.tools.get('pinnace', '')}."
        + (f" It knows {len(labels)} classes." if labels else ""),
        "## What it wants",
        _wants(document),
        "## Variants",
        _sizes(document.variants),
        "## How exact they are",
        _parities(document.variants),
        _proofs(document.variants),
        _accuracies(document),
    ]
    if document.notes:
        parts += ["## Notes", "\n".join(f"- {_sentence(note)}" for note in document.notes)]
    parts += [
        "## Use it",
        _use(document),
        "Everything here as data: `manifest.json`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _use(document: Manifest) -> str:
    folder = f"{document.name}.bundle"
    lines = [f"pinnace verify {folder}    # does it answer here as it did there?"]
    if document.outputs is not None and document.outputs.meaning == "embedding":
        lines.append(f"pinnace embed photo.jpg --bundle {folder}")
    elif document.outputs is not None and document.outputs.is_classifier:
        lines.append(f"pinnace classify photo.jpg --bundle {folder}")
    return "\n".join(["```sh", *lines, f"pinnace serve {folder}", "```"])


def _wants(document: Manifest) -> str:
    lines = [f"- input `{spec}`" for spec in document.signature.inputs]
    lines += [f"- output `{spec}`" for spec in document.signature.outputs]
    lines.append(f"- batches of {document.batch[0]} to {document.batch[1]}")
    if document.preprocess is not None:
        lines.append(f"- an image: {document.preprocess}")
    if document.outputs is not None:
        lines.append(f"- it answers with {document.outputs}")
    return "\n".join(lines)


def _sizes(variants: Sequence[Variant]) -> str:
    """Sizes, and what is left of the largest fp32 file."""
    before = next((v.bytes for v in variants if v.name == "onnx-fp32"), max(v.bytes for v in variants))
    rows = [
        (f"`{v.name}`", f"`{v.file}`", size_text(v.bytes), f"{v.bytes / before:.0%}", f"`{v.sha256[:12]}`")
        for v in variants
    ]
    return _table(("variant", "file", "size", "of fp32", "sha256 begins"), rows)


def _parities(variants: Sequence[Variant]) -> str:
    rows = [
        (
            f"`{v.name}`",
            v.parity.runtime,
            f"{v.parity.max_abs:.2g}",
            f"{v.parity.max_rel:.2g}",
            f"{v.parity.cosine:.6f}",
            _share(None if v.tolerance.photographs_only else _agreement(v.parity)),
        )
        for v in variants
        if v.parity is not None
    ]
    heads = (
        "variant",
        "runtime",
        "largest difference",
        "of the outputs' range",
        "cosine",
        "same answer",
    )
    few = any(v.tolerance.photographs_only for v in variants)
    return (
        "Against the original network, on the golden inputs, the worst of all"
        + ("; lower precisions on the golden photographs, which are too few for shares" if few else "")
        + ":\n\n"
        + _table(heads, rows)
    )


def _proofs(variants: Sequence[Variant]) -> str:
    rows = [
        (
            f"`{v.name}`",
            str(v.proof.images),
            f"{v.proof.max_abs:.2g}",
            f"{v.proof.mean_abs:.2g}",
            f"{v.proof.cosine:.6f}",
            _share(_agreement(v.proof)),
            _share(v.proof.top5_overlap),
        )
        for v in variants
        if v.proof is not None
    ]
    if not rows:
        return ""
    heads = (
        "variant",
        "photographs",
        "largest difference",
        "mean",
        "worst cosine",
        "same answer",
        "of the first five",
    )
    return "Against fp32, on photographs:\n\n" + _table(heads, rows)


def _accuracies(document: Manifest) -> str:
    counted = [(v.name, v.accuracy) for v in document.variants if v.accuracy is not None]
    if not counted:
        if document.outputs is None or not document.outputs.is_classifier:
            return ""
        return "How often the answers are right was not counted: the tables above do not say it."
    rows = [
        (f"`{name}`", str(each.images), *map(_with_interval, (each.top1, each.top5), _intervals(each)))
        for name, each in counted
    ]
    heads = ("variant", "labelled images", "top-1", "top-5")
    return "## How often they are right\n\nWith Wilson's 95 % interval:\n\n" + _table(heads, rows)


def _intervals(accuracy: Accuracy) -> tuple[tuple[float, float], tuple[float, float]]:
    return accuracy.top1_interval, accuracy.top5_interval


def _with_interval(share: float, interval: tuple[float, float]) -> str:
    return f"{share:.1%} ({interval[0]:.1%} to {interval[1]:.1%})"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _agreement(measured: Parity | Proof) -> float | None:
    return measured.label_agreement if measured.top1_agreement is None else measured.top1_agreement


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
