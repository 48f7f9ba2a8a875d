"""A suite as data: which networks, in which variants, and how long each is timed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from pinnace.models.errors import UsageError
from pinnace.models.loaders import parse_source
from pinnace.models.toml import read_toml

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class SuiteRow:
    """One network.

    Attributes:
        name: of its bundle, and of the row in tables.
        source: what to export, as `pinnace export` takes it.
        size: edge of a square input, or height and width; None for the model's own.
        note: what a reader of the figures should know.
    """

    name: str
    source: str
    size: int | tuple[int, int] | None = None
    note: str = ""

    __pydantic_config__ = ConfigDict(extra="forbid")

    @property
    def edges(self) -> tuple[int, int] | None:
        """Height and width, or None."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


@dataclass(frozen=True)
class Suite:
    """Networks to time one after the other.

    Attributes:
        description: one line for people.
        rows: the networks.
        target: of the exports: a name of `pinnace targets`, or a TOML file.
        variants: which are exported and timed.
        scenarios: each gives every row a figure; `single-stream` is timed in batch 1.
        duration_s: seconds for each row and scenario.
        min_queries: fewest queries likewise.
        rounds: how often each variant and runtime of a row is timed, in alternation.
        name: the name it was read by.
        folder: what relative paths of sources start from.
    """

    description: str
    rows: Annotated[tuple[SuiteRow, ...], Field(min_length=1)]
    target: str = "cpu"
    variants: Annotated[tuple[str, ...], Field(min_length=1)] = ("onnx-fp32",)
    scenarios: Annotated[tuple[str, ...], Field(min_length=1)] = ("single-stream", "offline")
    duration_s: Annotated[float, Field(gt=0)] = 10.0
    min_queries: Annotated[int, Field(ge=1)] = 10
    rounds: Annotated[int, Field(ge=1)] = 2
    name: str = ""
    folder: Path = Path()

    __pydantic_config__ = ConfigDict(extra="forbid")


_ADAPTER = TypeAdapter(Suite)


def names() -> list[str]:
    """The suites that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read(name: str) -> Suite:
    """Read a suite by name, or from a TOML file of the user's own.

    Raises:
        UsageError: the suite is unknown, or the file is not a valid one.
    """
    own = name.endswith(".toml")
    path = Path(name) if own else FOLDER / f"{name}.toml"
    if not own and name not in names():
        raise UsageError(
            f"there is no suite {name!r}", expected="a TOML file or one of " + ", ".join(names()), got=name
        )
    data = read_toml(path, "suite")
    data["name"] = path.stem
    data["folder"] = path.absolute().parent if own else Path.cwd()
    try:
        suite = _ADAPTER.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    for row in suite.rows:
        parse_source(row.source)
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", row.name):
            raise UsageError(
                f"{path}: a row's name becomes the name of a folder",
                expected="letters, digits and -_.+",
                got=row.name,
            )
    if len({row.name for row in suite.rows}) < len(suite.rows):
        raise UsageError(f"{path}: two rows have the same name")
    return suite
