"""Which network of torchvision or timm weights belong to, by their names and shapes."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pinnace.models.loaders.fitting import OF_TRAINING, renamings

# Written by tests/models/loaders/make_architectures.py.
TABLE = Path(__file__).with_name("architectures.txt")

# Not every network that was trained has them: heads that only training has, and a counter.
_OPTIONAL = re.compile(r"(?:AuxLogits|aux\d?|aux_classifier)\.|(?:.*\.)?num_batches_tracked$")
_FEWEST_SHARED = 0.6
_DEEPEST_PREFIX = 4
# An image of satellites has a dozen or so.
_MOST_CHANNELS = 16

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Known:
    """A network of torchvision or timm.

    Attributes:
        arch: as `--arch` has it.
        head: the name of its last layer; several with commas between, where it was trained with more heads.
        names: hash of the names of its weights.
        body: hash of the names and shapes of all weights but those of the last layer.
    """

    arch: str
    head: str
    names: str
    body: str


@dataclass(frozen=True)
class Match:
    """What weights were recognised as.

    Attributes:
        arch: as `--arch` has it.
        head: name of the last layer, or of what the user put there.
        classes: rows of the last layer's weight, where it is the network's own kind of layer.
        own_head: shapes of what stands in the place of the last layer, where that is the user's own.
    """

    arch: str
    head: str
    classes: int | None = None
    own_head: tuple[tuple[str, tuple[int, ...]], ...] = ()


def hash_of(items: Iterable[str]) -> str:
    """A short hash of texts, whatever their order."""
    return hashlib.sha256("\n".join(sorted(items)).encode()).hexdigest()[:10]


def counted(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The weights that every trained network of a kind has."""
    return {
        name: shape
        for name, shape in shapes.items()
        if not _OPTIONAL.match(name) and not OF_TRAINING.match(name)
    }


def body_of(shapes: Shapes, head: str, first: str | None = None) -> str:
    """The hash of the names and shapes of all but the last layer; the channels of the image do not count.

    Args:
        shapes: of all weights.
        head: the last layer's name, or several with commas between.
        first: the weight of the first layer; that which comes first unless it is given.
    """
    first = next(iter(shapes), "") if first is None else first
    texts = []
    heads = _beginnings(head)
    for name, shape in shapes.items():
        if not name.startswith(heads):
            kept = (shape[0], *shape[2:]) if name == first and len(shape) == 4 else shape
            texts.append(f"{name} {','.join(map(str, kept))}")
    return hash_of(texts)


def _beginnings(head: str) -> tuple[str, ...]:
    """How the names of the weights of a last layer begin."""
    return tuple(f"{each}." for each in head.split(","))


def _bodies(shapes: Shapes, head: str) -> set[str]:
    """The hash of all but the last layer, for each weight that may be the first layer's.

    safetensors has the names in the order of the alphabet, and not in that of the network.
    """
    firsts = [name for name, shape in shapes.items() if len(shape) == 4 and shape[1] <= _MOST_CHANNELS]
    return {body_of(shapes, head, first) for first in ["", *firsts]}


@cache
def _table() -> tuple[Known, ...]:
    rows = TABLE.read_text(encoding="utf-8").splitlines()
    return tuple(Known(*row.split(" ")) for row in rows)


def recognise(state: Mapping[str, Any]) -> list[Match]:
    """The networks whose weights have these names and shapes, torchvision's first; often several or none.

    The number of classes and the channels of the image may be others. A network whose last layer was replaced
    by something else is found too, where nothing else fits.
    """
    for shapes in _readings(state):
        if matches := _matches(shapes):
            return matches
    return []


def _matches(shapes: Shapes) -> list[Match]:
    shapes = counted(shapes)
    names = hash_of(shapes)
    found = []
    bodies: dict[str, set[str]] = {}
    for known in _table():
        if known.names == names:
            if known.head not in bodies:
                bodies[known.head] = _bodies(shapes, known.head)
            if known.body in bodies[known.head]:
                found.append(Match(known.arch, known.head, _rows(shapes, known.head)))
    if found:
        return found
    for place in _places(shapes):
        own = tuple((name, shape) for name, shape in shapes.items() if name.startswith(f"{place}."))
        ends = [known for known in _table() if f"{known.head}.".startswith(f"{place}.")]
        may_be = _bodies(shapes, place)
        found += [Match(known.arch, place, own_head=own) for known in ends if known.body in may_be]
    return found


def _places(shapes: Shapes) -> list[str]:
    """Where a last layer may stand: the known ones and what they are part of, as far as there are weights."""
    heads = [head.split(".") for head in dict.fromkeys(known.head for known in _table()) if "," not in head]
    places = dict.fromkeys(".".join(parts[:end]) for parts in heads for end in range(1, len(parts) + 1))
    return [place for place in places if any(name.startswith(f"{place}.") for name in shapes)]


def bodies_of(shapes: Shapes) -> list[str]:
    """The networks whose weights without those of the last layer have these names and shapes."""
    shapes = counted(shapes)
    bodies = {head: _bodies(shapes, head) for head in dict.fromkeys(known.head for known in _table())}
    return [known.arch for known in _table() if known.body in bodies[known.head]]


def _rows(shapes: Shapes, head: str) -> int | None:
    beginnings = _beginnings(head)
    return next((shape[0] for name, shape in shapes.items() if name.startswith(beginnings) and shape), None)


def _readings(state: Mapping[str, Any]) -> Iterator[Shapes]:
    """Names and shapes without what wrappers put before the names."""
    shapes = {str(name): tuple(getattr(value, "shape", ())) for name, value in state.items()}
    seen: list[tuple[str, ...]] = []
    for rename in renamings():
        renamed = {rename(name): shape for name, shape in shapes.items()}
        for prefix in _prefixes(list(renamed)):
            reading = {
                name[len(prefix) :]: shape for name, shape in renamed.items() if name.startswith(prefix)
            }
            if (names := tuple(reading)) not in seen:
                seen.append(names)
                yield reading


def _prefixes(names: Sequence[str]) -> list[str]:
    """Prefixes that most names share, the shortest first."""
    shared: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")[:-1][:_DEEPEST_PREFIX]
        shared.update(".".join(parts[: end + 1]) + "." for end in range(len(parts)))
    # Two networks may stand side by side, plain and averaged.
    fewest = _FEWEST_SHARED * len(names) / 2
    return ["", *sorted((prefix for prefix, count in shared.items() if count >= fewest), key=len)]
