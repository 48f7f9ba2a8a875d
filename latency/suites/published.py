"""Published figures as data, shown beside measured ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from pinnace.models.errors import UsageError
from pinnace.models.loaders import parse_source
from pinnace.models.toml import read_toml

_FOLDER = Path(__file__).with_name("published_figures")


@dataclass(frozen=True)
class Figures:
    """What was published of one network.

    Attributes:
        network: a source without its weights, as `torchvision:alexnet`.
        size: edge of the input of the row beside which they stand.
        fps: images a second, one for each column; None where there is none.
        note: what differs, such as `at 224x224`.
    """

    network: str
    size: int
    fps: tuple[float | None, ...]
    note: str = ""

    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Publication:
    """One published table.

    Attributes:
        title: of the devices.
        source: where it was published.
        columns: a device, or a way to use it, each.
        figures: a network each.
    """

    title: str
    source: str
    columns: tuple[str, ...]
    figures: tuple[Figures, ...]

    __pydantic_config__ = ConfigDict(extra="forbid")

    def of(self, source: str, size: tuple[int, ...]) -> Figures | None:
        """The published figures of a network at an input size, or None."""
        try:
            parsed = parse_source(source)
        except UsageError:  # the source is the URL of a server
            return None
        network = f"{parsed.kind}:{parsed.name}"
        for each in self.figures:
            if each.network == network and size == (each.size, each.size):
                return each
        return None


_ADAPTER: TypeAdapter[Any] = TypeAdapter(Publication)


@cache
def all_publications() -> tuple[Publication, ...]:
    """Every table that comes with the package, the boards of NeuroMatrix last."""
    files = sorted(_FOLDER.glob("*.toml"))
    return tuple(_ADAPTER.validate_python(read_toml(path, "published figures")) for path in files)
