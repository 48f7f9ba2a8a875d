"""What the shapes of weights say of a network of torchvision or timm: its classes and its channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pinnace.models.loaders.fitting import OF_TRAINING, candidates

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Shapes:
    """What differs between a network as it is by default and the weights for it.

    Attributes:
        num_classes: outputs of the weights' last layer, where the default has another number.
        head: the weight that says so.
        channels: of the image that the first layer takes, where the default takes another number.
        stem: the weight that says so.
        others: names whose shapes differ in another way, or that only one of the two has.
    """

    num_classes: int | None = None
    head: str | None = None
    channels: int | None = None
    stem: str | None = None
    others: tuple[str, ...] = ()


def on_meta(build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """A network without values in its weights, where it can be built so; else with them."""
    import torch

    try:
        with torch.device("meta"):
            return build()
    except (NotImplementedError, RuntimeError):
        return build()


def compare(module: torch.nn.Module, state: Mapping[str, Any]) -> Shapes:
    """Compare the likeliest reading of a checkpoint's names with a network built by default."""
    wanted = dict(module.state_dict())
    readings = [candidate.weights for candidate in candidates(state, wanted)]
    weights = min(readings, key=lambda names: sum(map(_counts, names.keys() ^ wanted.keys())))
    classes: dict[int, str] = {}
    channels: dict[int, str] = {}
    others = [name for name in {**wanted, **weights} if (name in wanted) != (name in weights)]
    first = next(iter(wanted), "")
    for name, like in wanted.items():
        have, want = (tuple(getattr(value, "shape", ())) for value in (weights.get(name), like))
        if name not in weights or have == want:
            continue
        if len(have) == len(want) and have[1:] == want[1:]:
            classes.setdefault(have[0], name)
        elif name == first and len(have) == len(want) > 2 and have[2:] == want[2:] and have[0] == want[0]:
            channels[have[1]] = name
        else:
            others.append(name)
    if len(classes) > 1:
        return Shapes(others=(*others, *classes.values()))
    (num_classes, head), (count, stem) = (
        next(iter(found.items()), (None, None)) for found in (classes, channels)
    )
    return Shapes(num_classes, head, count, stem, tuple(others))


def _counts(name: str) -> bool:
    """Whether a name that only one of two has tells them apart."""
    return not OF_TRAINING.match(name)
