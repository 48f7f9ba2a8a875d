"""What a bundle keeps of the photographs that it was proved on: how they were answered, and their sizes."""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import BundleError, UsageError
from pinnace.models.records.observations import Observations

FILE = "reference.npz"

_LARGEST = 1 << 30


def write(folder: Path, observations: Observations) -> None:
    """Write the reference of a bundle whose other files are there, and whose manifest is not yet."""
    np.savez_compressed(folder / FILE, **asdict(observations))


def read(bundle: Bundle) -> Observations:
    """The reference of a bundle.

    Raises:
        UsageError: it has none.
        BundleError: it cannot be read.
        CheckFailed: it is not what was exported.
    """
    if FILE not in bundle.manifest.files:
        raise UsageError(
            f"{bundle.folder} keeps no reference: it was exported without photographs",
            hint="export it again with --images DIR, or name a record: --against RECORD",
        )
    data = bundle.read(FILE)
    names = [field.name for field in fields(Observations)]
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST:
                raise ValueError("it is too large")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            columns = [arrays[name] for name in names]
    except Exception as error:  # damaged bytes raise whatever zipfile, zlib and NumPy stumble over
        raise BundleError(f"{bundle.folder / FILE} cannot be read: {error}") from None
    shapes = {column.shape for column in columns}
    kinds = [column.dtype.kind for column in columns]
    if len(shapes) != 1 or len(columns[0].shape) != 1 or not len(columns[0]) or kinds != ["U", *"fffff"]:
        raise BundleError(f"{bundle.folder / FILE} has not one row for each photograph")
    return Observations(*columns)
