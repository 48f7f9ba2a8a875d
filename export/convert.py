"""From the fp32 ONNX file of an export to the variants that are made of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from pinnace.export.calibration_images import PreparedImages
from pinnace.export.formats import conversion_of, format_of, precision_of
from pinnace.export.precision.base import AUTO, DEFAULT_METHOD, ConversionInput
from pinnace.export.request import REFERENCE, ExportedFiles
from pinnace.export.validation.validator import is_fixed
from pinnace.models.bundle import golden
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import weights_file
from pinnace.models.bundle.signature import BATCH, Signature
from pinnace.models.errors import CheckFailed, PinnaceError, UsageError
from pinnace.models.loaders.foreign import describe
from pinnace.models.packages import installed_versions
from pinnace.models.progress import Event, Progress, Stage
from pinnace.models.variant_name import VariantName


def convert(
    folder: Path,
    exported: ExportedFiles,
    names: tuple[VariantName, ...],
    calibration: PreparedImages | None,
    progress: Progress,
    *,
    method: str = DEFAULT_METHOD,
    recipe: str = AUTO,
    one_class: bool = False,
    required: bool = True,
) -> ExportedFiles:
    """Write the variants that are conversions, in this interpreter: no foreign code takes part.

    Args:
        folder: where the files are, and go.
        exported: what the loader and the formats wrote and learnt; its fp32 ONNX file is read.
        names: of the variants of the bundle; those that are no conversions are left alone.
        calibration: images to calibrate with.
        progress: told before each step.
        method: how ranges are found from images.
        recipe: of int8; see `ConversionInput`.
        one_class: likewise.
        required: what cannot be made is an error, and not left out with a note.

    Returns:
        The same with the new files, notes and tools.

    Raises:
        UsageError: the model cannot be converted.
        CheckFailed: a graph cannot be.
    """
    wanted = {name: made for name in names if (made := conversion_of(name)) is not None}
    wanted = {name: made for name, made in wanted.items() if name not in exported.files}
    if not wanted:
        return exported
    if (reason := _impossible(folder, exported.files, exported.signature)) is not None:
        left_out = ", ".join(map(str, wanted))
        if required:
            raise UsageError(f"{left_out} cannot be made: {reason}", hint="leave out --precision")
        return dataclasses.replace(exported, notes=(*exported.notes, f"{left_out} is left out: {reason}"))
    inputs, _ = golden.read(folder / golden.FILE)
    material = ConversionInput(
        path=folder / exported.files[REFERENCE],
        golden=inputs,
        input=exported.signature.inputs[0].name,
        images=None if calibration is None else calibration.inputs,
        method=method,
        recipe=recipe,
        one_class=one_class,
        fixed_batch=is_fixed(exported),
        progress=progress,
    )
    files, notes, tools = dict(exported.files), list(exported.notes), dict(exported.tools)
    quantisations = dict(exported.quantisations)
    for name, conversion in wanted.items():
        progress(Event(Stage.WRITE, str(name)))
        files[name] = f"{name}{format_of(name).suffix}"
        try:
            converted = conversion.convert(material, folder / files[name])
        except PinnaceError:
            raise
        except Exception as error:  # the tools that convert raise whatever an unusual graph leads them to
            raise CheckFailed(
                f"{name} cannot be made of the model: {describe(error)}",
                hint="leave it out with --precision fp32",
            ) from error
        notes += converted.notes
        if converted.quantisation is not None:
            quantisations[name] = converted.quantisation
        tools |= installed_versions(conversion.packages)
    return dataclasses.replace(
        exported, files=files, notes=tuple(notes), tools=tools, quantisations=quantisations
    )


def without_images(bundle: Bundle, names: Sequence[VariantName]) -> list[str]:
    """What is said of conversions that were left out because there was nothing to calibrate with.

    Only where images would help are they asked for.

    Args:
        bundle: what the export came to.
        names: of the conversions; of one that the bundle has after all, as the given file, nothing is said.
    """
    files = {VariantName.parse(variant.name): variant.file for variant in bundle.manifest.variants}
    left_out = [name for name in names if name not in files]
    if not left_out:
        return []
    reason = _impossible(bundle.folder, files, bundle.manifest.signature)
    if reason is None and bundle.manifest.preprocess is None:
        reason = "its ranges are found by running the model on images, and this takes none"
    if reason is not None:
        return [f"{', '.join(map(str, left_out))} is left out: {reason}"]
    return [f"{name} was left out, because it needs images: --calibrate DIR" for name in left_out]


def _impossible(folder: Path, files: Mapping[VariantName, str], signature: Signature) -> str | None:
    """Why nothing can be made of a model in another precision, or None."""
    if REFERENCE not in files:
        return f"the file is {precision_of(next(iter(files)))} already, and they are made of fp32"
    if (folder / weights_file(files[REFERENCE])).is_file():
        return "they are made of an ONNX file that holds its weights, and of this the weights stand beside it"
    if signature.batch not in (BATCH, 1):
        takes = signature.batch or "no batch"
        return f"they are made of models that take one sample at a time or any number, and this takes {takes}"
    return None
