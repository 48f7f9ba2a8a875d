"""Targets: where a bundle will run, as data, one TOML file each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from pinnace.models.errors import UsageError
from pinnace.models.manifest import Tolerance
from pinnace.models.toml import read_toml

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Target:
    """Where a bundle will run.

    Attributes:
        description: one line for people.
        opset: ONNX opset of the graphs.
        variants: names of the variants to write, `FORMAT-PRECISION`, in the order of preference.
        tolerance: what a variant of each precision has to keep.
    """

    description: str
    opset: int
    variants: Annotated[tuple[str, ...], Field(min_length=1)]
    tolerance: dict[str, Tolerance]

    __pydantic_config__ = ConfigDict(extra="forbid")


_ADAPTER = TypeAdapter(Target)


def names() -> list[str]:
    """The names of the targets that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def read(name: str) -> Target:
    """Read a target by name, or from a TOML file of the user's own.

    Raises:
        UsageError: there is no such target, or the file is not one.
    """
    path = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
    if not path.is_file():
        raise UsageError(
            f"there is no target {name!r}", expected="a TOML file or one of " + ", ".join(names()), got=name
        )
    data = read_toml(path, "target")
    try:
        return _ADAPTER.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
