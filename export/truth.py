"""The labels of images in a CSV file, where several may be true of one image."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pinnace.models.errors import UsageError

_BETWEEN = "|"
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "", "-1")


@dataclass(frozen=True)
class Truth:
    """Images, and what is true of them.

    Attributes:
        files: the images.
        true: bool, shape (images, labels).
    """

    files: tuple[Path, ...]
    true: npt.NDArray[np.bool_]


def read_truth(path: Path, images: Path | None, labels: Sequence[str]) -> Truth:
    """Read a CSV file whose first column is an image, and whose others say which labels are true of it.

    With one other column, that holds the names of the labels with `|` between them, or nothing. With
    several, each is named after a label and holds 1 or 0. The first line is a heading where its first cell
    is `file`, `image`,
    `filename`, `path` or `name`; with several columns there has to be one.

    Args:
        path: the file.
        images: where relative names of images count from; the folder of the file where None.
        labels: one name per output.

    Raises:
        UsageError: the file cannot be read, names a label that there is not, or an image that is missing.
    """
    rows = _rows(path)
    folder = path.absolute().parent if images is None else images
    places = {label: index for index, label in enumerate(labels)}
    heading = rows[0] if rows[0][0].strip().lower() in ("file", "image", "filename", "path", "name") else None
    body = rows[1:] if heading is not None else rows
    if not body:
        raise UsageError(f"{path} has no images")
    width = len(rows[0])
    if width > 2 and heading is None:
        raise UsageError(
            f"{path} has {width} columns and no heading that names them",
            expected="file,LABEL,LABEL,... or file,LABEL|LABEL",
            got=",".join(rows[0][:4]),
        )
    if width > 2 and heading is not None:
        _check_labels(path, 1, heading[1:], places)
    true = np.zeros((len(body), len(labels)), np.bool_)
    files = []
    for number, row in enumerate(body):
        line = number + (2 if heading is not None else 1)
        if len(row) != width:
            raise UsageError(f"line {line} of {path} has {len(row)} columns", expected=str(width))
        files.append(folder / row[0])
        if width > 2 and heading is not None:
            for label, cell in zip(heading[1:], row[1:], strict=True):
                true[number, places[label]] = _is_true(path, line, cell)
        else:
            names = [name.strip() for name in row[1].split(_BETWEEN) if name.strip()]
            _check_labels(path, line, names, places)
            true[number, [places[name] for name in names]] = True
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UsageError(
            f"{len(missing)} of the {len(files)} images of {path} are missing",
            got=str(missing[0]),
            hint="say with --images DIR where they are",
        )
    return Truth(tuple(files), true)


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as CSV: {error}") from None
    if not rows or len(rows[0]) < 2:
        raise UsageError(
            f"{path} does not say what is true of images",
            expected="file,LABEL|LABEL on each line",
            got=",".join(rows[0]) if rows else "an empty file",
        )
    return rows


def _check_labels(path: Path, line: int, names: Sequence[str], places: dict[str, int]) -> None:
    for name in names:
        if name not in places:
            known = list(places)
            raise UsageError(
                f"line {line} of {path} names a label that the model does not have: {name}",
                expected="one of " + ", ".join(known[:8]) + (", ..." if len(known) > 8 else ""),
            )


def _is_true(path: Path, line: int, cell: str) -> bool:
    word = cell.strip().lower()
    if word in _YES or word in _NO:
        return word in _YES
    raise UsageError(f"line {line} of {path} has {cell!r} in the column of a label", expected="1 or 0")
