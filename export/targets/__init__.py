"""Targets: where a bundle will run, as data, one TOML file each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from pinnace.export.formats import all_formats, format_of
from pinnace.models.bundle.measurements import Tolerance
from pinnace.models.errors import UsageError
from pinnace.models.proposal import proposal
from pinnace.models.runtimes import all_runtimes
from pinnace.models.toml import read_toml
from pinnace.models.variant_name import VariantName

_FOLDER = Path(__file__).parent
DEFAULT = "cpu"


@dataclass(frozen=True)
class Target:
    """Where a bundle will run.

    Attributes:
        description: one line for people.
        opset: ONNX opset of the graphs.
        variants: the variants to write, in the order of preference.
        tolerance: what a variant of each precision has to keep.
        batch: smallest and largest batch.
        runtimes: names of runtimes in the order of preference.
    """

    description: str
    opset: Annotated[int, Field(ge=17, le=20)]
    variants: Annotated[tuple[VariantName, ...], Field(min_length=1)]
    tolerance: dict[str, Tolerance]
    batch: tuple[int, int] = (1, 16)
    runtimes: tuple[str, ...] = ()

    __pydantic_config__ = ConfigDict(extra="forbid")

    def to_dict(self) -> dict[str, Any]:
        """The target as plain data, as its file has it."""
        plain: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return plain


_ADAPTER = TypeAdapter(Target)


def names() -> list[str]:
    """The names of the targets that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def read(name: str) -> Target:
    """Read a target by name, or from a TOML file of the user's own.

    What a precision has to keep is that of the target `cpu`, where the file does not say it.

    Raises:
        UsageError: there is no such target, or the file is not one.
    """
    path = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
    if not path.is_file():
        raise UsageError(
            f"there is no target {name!r}",
            expected="a TOML file or one of " + ", ".join(names()),
            got=name,
            hint=proposal(name, names()),
        )
    data = read_toml(path, "target")
    try:
        target = _ADAPTER.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    precisions = {precision for format in all_formats().values() for precision in format.kinds.values()}
    for what, given, known in (
        ("tolerance", target.tolerance, sorted(precisions)),
        ("runtimes", target.runtimes, list(all_runtimes())),
    ):
        for word in given:
            if word not in known:
                raise UsageError(
                    f"{path}: {what}: there is no {word}", expected="one of " + ", ".join(known), got=word
                )
    for variant in target.variants:
        format_of(variant)
    if not 1 <= target.batch[0] <= target.batch[1]:
        raise UsageError(
            f"{path}: batch is not a range",
            expected="[smallest, largest], at least 1",
            got=str(list(target.batch)),
        )
    if path.parent != _FOLDER:
        target = replace(target, tolerance=read(DEFAULT).tolerance | target.tolerance)
    return target


def combine(targets: Sequence[Target]) -> Target:
    """One target that stands for several: every variant that one of them has, and what all of them demand.

    The lowest opset, the widest batch range, of each tolerance the tightest; variants and runtimes in the
    order in which they first appear.
    """
    if len(targets) == 1:
        return targets[0]
    precisions = {precision: None for target in targets for precision in target.tolerance}
    return Target(
        description="; ".join(target.description for target in targets),
        opset=min(target.opset for target in targets),
        variants=tuple({name: None for target in targets for name in target.variants}),
        tolerance={
            precision: _tightest([t.tolerance[precision] for t in targets if precision in t.tolerance])
            for precision in precisions
        },
        batch=(min(t.batch[0] for t in targets), max(t.batch[1] for t in targets)),
        runtimes=tuple({name: None for target in targets for name in target.runtimes}),
    )


def parse_batch(text: str) -> tuple[int, int]:
    """Read `MIN:MAX`, or one number for both.

    Raises:
        UsageError: the text has another form.
    """
    smallest, _, largest = text.partition(":")
    largest = largest or smallest
    if not (smallest.isdecimal() and largest.isdecimal() and 1 <= int(smallest) <= int(largest)):
        raise UsageError(
            f"{text!r} is not a range of batch sizes", expected="MIN:MAX, such as 1:64", got=text
        )
    return int(smallest), int(largest)


def words(values: Sequence[str] | None) -> list[str]:
    """The words of a repeatable option, which may also stand in one with commas between them."""
    return [word for value in values or () for word in value.split(",") if word]


def _tightest(tolerances: Sequence[Tolerance]) -> Tolerance:
    """Of each bound the hardest to keep; judged on all golden inputs if one of them is."""
    bounds: dict[str, float] = {}
    for field in fields(Tolerance):
        given = [value for t in tolerances if (value := getattr(t, field.name)) is not None]
        if field.name != "photographs_only" and given:
            bounds[field.name] = max(given) if field.name.startswith("min_") else min(given)
    return Tolerance(**bounds, photographs_only=all(t.photographs_only for t in tolerances))
