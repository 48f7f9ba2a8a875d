"""The images that a run on a cluster is given: folders, patterns, files, and lists of paths.

A list is a text file with a path on each line, or a CSV or Parquet file of which one column has the paths. It
is read in pieces, so that memory does not grow with it; the names of a folder are all in memory.
"""

from __future__ import annotations

import csv
import fnmatch
import glob
import io
import os
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pinnace.models.errors import UsageError
from pinnace.models.file_stores import absolute, join, kind_of, not_reached, open_store
from pinnace.models.image.decode import SUFFIXES
from pinnace.models.image.find import find_images
from pinnace.models.urls import is_uri

_LISTS = (".txt", ".csv", ".parquet")
_USUAL_COLUMNS = ("path", "image", "file", "uri", "url")


def paths_of(inputs: Sequence[str], column: str | None = None) -> Iterator[str]:
    """The paths of all images, in an order that depends on nothing but the inputs.

    Args:
        inputs: folders, patterns, image files and lists; local, or URIs.
        column: which column of a CSV or Parquet list has the paths; by default `path`, `image`, `file`, `uri`
            or `url`, or the only one.

    Raises:
        UsageError: there is no such file, or a list is not one.
    """
    for given in inputs:
        name = absolute(given)
        is_list = name.lower().endswith(_LISTS)
        if any(mark in given for mark in "*?[") and kind_of(name) == "nothing":
            for match in _matching(name):
                yield from _listed(match, column) if is_list else (match,)
        elif is_list:
            yield from _listed(name, column)
        elif kind_of(name) == "folder":
            yield from _in_folder(name)
        else:
            yield name


def _in_folder(folder: str) -> Iterator[str]:
    if not is_uri(folder):
        found = find_images([Path(folder)])
        for error in found.unreadable:
            raise UsageError(f"the folder {error.filename} cannot be read: {error.strerror}")
        yield from found.images
        return
    yield from (name for name in _all_in(folder) if _is_an_image(name.removeprefix(folder)))


def _all_in(folder: str) -> list[str]:
    """The names of all files in a folder of a store, and below."""
    from pyarrow import fs

    store, path = open_store(folder)
    scheme = folder[: folder.index("://") + 3]
    try:
        found = store.get_file_info(fs.FileSelector(path, recursive=True))
    except OSError as error:
        raise not_reached(folder, error) from None
    return sorted(scheme + info.path for info in found if info.is_file)


def _is_an_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not any(part.startswith(".") for part in name.split("/"))


def _matching(pattern: str) -> Iterator[str]:
    if not is_uri(pattern):
        found = sorted(glob.iglob(pattern, recursive=True))  # noqa: PTH207 -- the pattern is absolute
        yield from (name for name in found if Path(name).is_file())
        return
    fixed = []
    for part in pattern.split("/"):
        if any(mark in part for mark in "*?["):
            break
        fixed.append(part)
    yield from (name for name in _all_in("/".join(fixed)) if fnmatch.fnmatchcase(name, pattern))


def _listed(name: str, column: str | None) -> Iterator[str]:
    folder = posixpath.dirname(name)
    store, path = open_store(name)
    try:
        with store.open_input_file(path) as file:
            if name.lower().endswith(".parquet"):
                lines = _parquet(file, name, column)
            else:
                text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
                lines = _csv(text, name, column) if name.lower().endswith(".csv") else map(str.strip, text)
            for line in filter(None, lines):
                path = line if is_uri(line) else join(folder, line)
                yield path if is_uri(path) else os.path.normpath(path)
    except OSError as error:
        raise not_reached(name, error) from None


def _csv(text: io.TextIOWrapper, name: str, column: str | None) -> Iterator[str]:
    rows = csv.reader(text)
    try:
        header = next(rows, [])
        if any(one.lower().endswith(SUFFIXES) for one in header):
            raise UsageError(
                f"the first line of {name} has a path where the names of the columns should be",
                got=",".join(header),
                hint="write a first line such as: path",
            )
        place = header.index(_column(header, name, column))
        for row in rows:
            if len(row) > place:
                yield row[place]
    except csv.Error as error:
        raise UsageError(f"{name} is not a CSV file: line {rows.line_num}: {error}") from None


def _parquet(file: Any, name: str, column: str | None) -> Iterator[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file)
        chosen = _column(table.schema_arrow.names, name, column)
        kind = table.schema_arrow.field(chosen).type
        kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
        if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
            raise UsageError(f"the column {chosen} of {name} has no text", expected="string", got=str(kind))
        for batch in table.iter_batches(columns=[chosen]):
            yield from (value or "" for value in batch.column(0).to_pylist())
    except pyarrow.ArrowInvalid as error:
        raise UsageError(f"{name} is not a Parquet file: {str(error).splitlines()[0]}") from None


def _column(names: Sequence[str], name: str, column: str | None) -> str:
    usual = [one for one in _USUAL_COLUMNS if one in names]
    chosen = column or (usual[0] if usual else names[0] if len(names) == 1 else None)
    if chosen not in names:
        raise UsageError(
            f"which column of {name} has the paths is not clear"
            if column is None
            else f"{name} has no column {column}",
            expected="one of " + ", ".join(names),
            hint="name it with --column",
        )
    return str(chosen)
