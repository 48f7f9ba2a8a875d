"""Which variants a bundle gets: the target's, or those that `--format` and `--precision` name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pinnace.export.formats import all_formats, conversion_of, precision_of
from pinnace.export.targets import Target
from pinnace.models.errors import MissingDependency, UsageError
from pinnace.models.proposal import proposal
from pinnace.models.runtimes import require_runtime
from pinnace.models.variant_name import VariantName


@dataclass(frozen=True)
class Selection:
    """The variants of a bundle.

    Attributes:
        variants: their names, in the order of preference.
        notes: a sentence for each variant that was added, or that cannot be written here.
        without_images: those that were left out because there is nothing to calibrate with; what is said of
            them, `pinnace.export.convert.without_images` knows when the model has been seen.
    """

    variants: tuple[VariantName, ...]
    notes: tuple[str, ...] = ()
    without_images: tuple[VariantName, ...] = ()


def select(
    target: Target, formats: Sequence[str], precisions: Sequence[str], *, calibrated: bool
) -> Selection:
    """Choose the variants.

    Without `--format` and `--precision` they are the target's. `--format` alone chooses among those the ones
    of a format, or adds the format in fp32 where the target has none. `--precision` alone chooses the ones
    of a precision, or adds it in the first of the target's formats that has it. Together they give every
    format in every precision that it has. What is made of `onnx-fp32`, and measured against it, brings it
    along. A format of the target's for which the converter or every runtime is not here, and which was not
    named, is left out.

    Args:
        target: what the bundle is for.
        formats: the formats that were named.
        precisions: the precisions that were named; `int8` is the target's kind of int8.
        calibrated: whether there are images to calibrate with.

    Raises:
        UsageError: a format or precision is unknown, nothing is left, or what was asked for needs images.
        MissingDependency: of a format that was named the converter, or every runtime, is not here.
    """
    chosen = _named(target, formats, precisions) if formats or precisions else list(target.variants)
    chosen, notes = _writable(chosen, formats)
    without_images = []
    for name in list(chosen):
        conversion = conversion_of(name)
        if calibrated or conversion is None or not conversion.needs_images:
            continue
        if precisions:
            raise UsageError(
                f"{name} needs images: its ranges are found by running the model on them",
                expected="--calibrate DIR, with about 100 to 500 photographs of the kind the model will meet",
            )
        chosen.remove(name)
        without_images.append(name)
    if not chosen:
        raise UsageError(
            "no variant is left", expected="--calibrate DIR", hint="pinnace targets lists what needs it"
        )
    for name in list(chosen):
        base = VariantName(name.format, "fp32")
        if conversion_of(name) is not None and base not in chosen:
            chosen.append(base)
            notes.append(f"{base} was added, because {name} is made from it and compared with it")
    return Selection(tuple(chosen), tuple(notes), tuple(without_images))


def _writable(chosen: Sequence[VariantName], formats: Sequence[str]) -> tuple[list[VariantName], list[str]]:
    """The variants that can be written and proved here, and a sentence for each format that is left out."""
    missing: dict[str, MissingDependency] = {}
    for format in {name.format: None for name in chosen}:
        try:
            all_formats()[format].require()
            require_runtime(format)
        except MissingDependency as error:
            missing[format] = error
    asked_for = [missing[format] for format in missing if format in formats]
    kept = [name for name in chosen if name.format not in missing]
    if asked_for or not kept:
        raise (asked_for or list(missing.values()))[0]
    notes = []
    for format, why in missing.items():
        names = ", ".join(str(name) for name in chosen if name.format == format)
        notes.append(f"{names} was left out: {why.message}")
    return kept, notes


def _named(target: Target, formats: Sequence[str], precisions: Sequence[str]) -> list[VariantName]:
    known = all_formats()
    for name in formats:
        if name not in known:
            raise UsageError(
                f"there is no format {name}",
                expected="one of " + ", ".join(known),
                got=name,
                hint=proposal(name, known),
            )
    kinds = {kind: None for format in known.values() for kind in format.kinds}
    for kind in precisions:
        if kind not in kinds:
            raise UsageError(f"there is no precision {kind}", expected="one of " + ", ".join(kinds), got=kind)
    if not precisions:
        of_target = [name for name in target.variants if name.format in formats]
        held = {name.format for name in of_target}
        return [*of_target, *(VariantName(name, "fp32") for name in formats if name not in held)]
    wanted = formats or list({name.format: None for name in target.variants})
    chosen: dict[VariantName, None] = {}
    for kind in precisions:
        same = [
            name
            for name in target.variants
            if name.format in wanted and kind in (precision_of(name), name.precision)
        ]
        covered = {name.format for name in same}
        added = [VariantName(n, kind) for n in wanted if kind in known[n].kinds and n not in covered]
        chosen |= dict.fromkeys([*same, *(added if formats else added[: 0 if same else 1])])
    if not chosen:
        raise UsageError(
            f"none of {', '.join(wanted)} is written in {', '.join(precisions)}",
            expected="one of " + ", ".join(f"{f.name}-{kind}" for f in known.values() for kind in f.kinds),
        )
    return list(chosen)
