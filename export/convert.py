"""From the fp32 ONNX file of an export to the variants that are made of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pinnace.export.calibration_images import PreparedImages
from pinnace.export.formats import split
from pinnace.export.precision.base import DEFAULT_METHOD, ConversionInput
from pinnace.export.request import ExportedFiles
from pinnace.export.validation.validator import REFERENCE, is_fixed
from pinnace.models.bundle import golden
from pinnace.models.bundle.signature import BATCH
from pinnace.models.errors import UsageError


def convert(
    folder: Path,
    exported: ExportedFiles,
    names: tuple[str, ...],
    calibration: PreparedImages | None,
    step: Callable[[str], None],
    *,
    method: str = DEFAULT_METHOD,
) -> ExportedFiles:
    """Write the variants that are conversions, in this interpreter: no foreign code takes part.

    Args:
        folder: where the files are, and go.
        exported: what the loader and the formats wrote and learnt; its fp32 ONNX file is read.
        names: of the variants of the bundle; those that are no conversions are left alone.
        calibration: images to calibrate with.
        step: called with a few words before each step.
        method: how ranges are found from images.

    Returns:
        The same with the new files, notes and tools.

    Raises:
        UsageError: the model cannot be converted.
        CheckFailed: a graph cannot be.
    """
    wanted = [name for name in names if is_conversion(name)]
    if not wanted:
        return exported
    if exported.signature.batch not in (BATCH, 1):
        raise UsageError(
            f"{wanted[0]} is made only of a model that takes one sample at a time, or any number",
            got=f"a model that takes {exported.signature.batch or 'no batch'}",
        )
    inputs, _ = golden.read(folder / golden.FILE)
    material = ConversionInput(
        path=folder / exported.files[REFERENCE],
        golden=inputs,
        input=exported.signature.inputs[0].name,
        images=None if calibration is None else calibration.inputs,
        method=method,
        fixed_batch=is_fixed(exported),
        step=step,
    )
    files, notes, tools = dict(exported.files), list(exported.notes), dict(exported.tools)
    for name in wanted:
        format, kind = split(name)
        step(f"writing {name}")
        files[name] = name + format.suffix
        notes += format.conversions[kind].convert(material, folder / files[name])
        tools |= {
            package: version(package) for package in format.conversions[kind].packages if _known(package)
        }
    return dataclasses.replace(exported, files=files, notes=tuple(notes), tools=tools)


def is_conversion(name: str) -> bool:
    """Whether a variant is made of the fp32 file, rather than of the network."""
    format, kind = split(name)
    return kind in format.conversions


def _known(package: str) -> bool:
    """ONNX Runtime comes as one of several distributions."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
