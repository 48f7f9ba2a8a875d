"""Reads a record: its answers, and its images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from pinnace.models import file_stores
from pinnace.models.errors import UsageError
from pinnace.models.records.observations import Observations, joined
from pinnace.models.records.places import IMAGES, ROWS, Part, parts_of, written_at
from pinnace.models.records.rows import require_pyarrow


@dataclass(frozen=True)
class RowFilter:
    """Which rows of a record are meant.

    Attributes:
        model: of this model; None where there is only one.
        since: answered then or later, in seconds since 1970.
        until: answered before.
    """

    model: str | None = None
    since: float | None = None
    until: float | None = None

    def may_have(self, part: Part) -> bool:
        """Whether a part may have such rows: it has none that were answered after it was written."""
        return self.since is None or written_at(part.name) >= self.since


def is_record(place: str) -> bool:
    """Whether a place has parts of a record.

    Raises:
        UsageError: the store cannot be asked.
    """
    return file_stores.kind_of(file_stores.join(place, ROWS)) == "folder"


def read_observations(place: str, chosen: RowFilter | None = None) -> Observations:
    """The classes that a record has answered with; rows without a class, as of an embedding, are left out.

    Args:
        place: a folder, or the URI of one.
        chosen: which rows.

    Raises:
        UsageError: it is no record, has no such rows, or has rows of several models and none is named.
        MissingDependency: pyarrow is not installed.
    """
    chosen = chosen or RowFilter()
    found, models = [], set()
    for table in read_tables(place, chosen, ("predictions", "width", "height", "bytes", "brightness")):
        models |= set(table.column("model").unique().to_pylist())
        found.append(_observed(table))
    if len(models) > 1:
        raise several_models(place, models)
    rows = joined(found) if found else None
    if not rows:
        raise UsageError(f"the record {place} has no answers{_of(chosen)}")
    return rows


def several_models(place: str, models: Iterable[str]) -> UsageError:
    """Answers of several models, where one is meant."""
    return UsageError(
        f"the record {place} has answers of several models",
        expected="one of " + ", ".join(sorted(models)),
        hint="name it with --model",
    )


def _of(chosen: RowFilter) -> str:
    said = "" if chosen.model is None else f" of {chosen.model}"
    if chosen.since is not None:
        said += f" from {_moment(chosen.since)} on"
    if chosen.until is not None:
        said += f" before {_moment(chosen.until)}"
    return said


def _moment(time: float) -> str:
    return datetime.fromtimestamp(time, timezone.utc).isoformat(timespec="seconds")


def read_tables(place: str, chosen: RowFilter, columns: tuple[str, ...]) -> Iterator[Any]:
    """The rows that are meant, a `pyarrow.Table` for each part, oldest part first.

    Args:
        place: a folder, or the URI of one.
        chosen: which rows.
        columns: besides `time` and `model`.

    Raises:
        UsageError: it is no record, or a part is damaged.
        MissingDependency: pyarrow is not installed.
    """
    require_pyarrow()
    import pyarrow.compute as pc

    for part in _parts(place, ROWS):
        if not chosen.may_have(part):
            continue
        table = _read(place, part, ("time", "model", *columns))
        if table is None:
            continue
        for limit, compare in ((chosen.since, pc.greater_equal), (chosen.until, pc.less)):
            if limit is not None:
                moment = datetime.fromtimestamp(limit, timezone.utc)
                table = table.filter(compare(table.column("time"), moment))
        if chosen.model is not None:
            table = table.filter(pc.equal(table.column("model"), chosen.model))
        if table.num_rows:
            yield table


def read_images(place: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """The images that a record has kept, by their SHA-256, oldest first; each once.

    Args:
        place: a folder, or the URI of one.
        wanted: of which SHA-256 the bytes are read.

    Raises:
        UsageError: it is no record, or a part is damaged.
        MissingDependency: pyarrow is not installed.
    """
    require_pyarrow()
    seen: set[str] = set()
    for part in _parts(place, IMAGES):
        table = _read(place, part, ("sha256", "image"))
        if table is None:
            continue
        names = table.column("sha256").to_pylist()
        for index, name in enumerate(names):
            if name not in seen and wanted(name):
                seen.add(name)
                yield name, table.column("image")[index].as_py()


def _parts(place: str, folder: str) -> list[Part]:
    if not is_record(place):
        raise UsageError(
            f"{place} is not a record", hint="a server writes one: pinnace serve BUNDLE --record DIR"
        )
    try:
        return parts_of(place, folder)
    except OSError as error:
        raise file_stores.not_reached(place, error) from None


def _read(place: str, part: Part, columns: tuple[str, ...]) -> Any:
    """A part; None where it was removed meanwhile."""
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    name = file_stores.join(place, f"{part.folder}/{part.name}")
    store, path = file_stores.open_store(name)
    try:
        with store.open_input_file(path) as file:
            return read_table(file, columns=list(columns))
    except FileNotFoundError:
        return None
    except (ArrowException, OSError, ValueError) as error:
        raise UsageError(f"{name} cannot be read: {str(error).splitlines()[0]}") from None


def _observed(table: Any) -> Observations:
    import pyarrow.compute as pc

    table = table.filter(pc.greater(pc.list_value_length(table.column("predictions")), 0))
    first = pc.list_element(table.column("predictions"), 0)

    def numbers(column: Any) -> Any:
        return np.asarray(column.to_pylist(), np.float64)

    return Observations(
        np.asarray(pc.struct_field(first, "label").to_pylist(), np.str_),
        numbers(pc.struct_field(first, "probability")),
        *(numbers(table.column(name)) for name in ("width", "height", "bytes", "brightness")),
    )
