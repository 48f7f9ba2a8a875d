"""Weights without `--arch`: the network is taken that they fit, or the command that says which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pinnace.models.errors import PinnaceError, UsageError
from pinnace.models.loaders.architecture import build_architecture
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.facts import TIMM, Facts
from pinnace.models.loaders.fitting import fit_weights
from pinnace.models.loaders.recognise import Match, recognise

_MOST_COMPARED = 6
_SHOWN = 8
_NO_NETWORK = "say what builds the network: --arch package.module:factory or --arch torchvision:resnet18"


def propose(request: LoadRequest, state: Mapping[str, Any], facts: Facts, path: Path) -> LoadedModel:
    """Build and fill the one network of torchvision or timm that the weights fit.

    Where several fit and answer the same, which ResNets of both do, the first is taken.

    Raises:
        UsageError: none fits, several do that answer differently, or the last layer is the user's own.
    """
    matches = _by_name(recognise(state), facts)
    if not matches:
        raise UsageError(f"{request.source} holds weights, not a network", hint=_hint(facts))
    if matches[0].own_head:
        return _with_own_head(request, state, matches[0], path)
    filled: list[tuple[Match, LoadedModel, tuple[str, ...]]] = []
    for match in matches[:_MOST_COMPARED]:
        try:
            loaded = build_architecture(replace(request, arch=match.arch), state)
            left_out = fit_weights(loaded.module, state, path)
        except UsageError:
            continue
        except PinnaceError:
            if len(matches) == 1:
                raise
            continue
        if filled and not _same_answers(filled[0][1], loaded):
            filled = []
            break
        filled = filled or [(match, loaded, left_out)]
    if not filled or len(matches) > _MOST_COMPARED:
        classes = f" --num-classes {matches[0].classes}" if matches[0].classes else ""
        raise UsageError(
            f"the names and shapes in {path} are those of {len(matches)} networks, which answer differently",
            expected="--arch with one of " + _listed([match.arch for match in matches]),
            hint=f"the one that you trained, for example --arch {matches[0].arch}{classes}",
        )
    match, loaded, left_out = filled[0]
    classes = f" with {match.classes} classes" if match.classes is not None else ""
    note = (
        f"the names and shapes of the weights are those of {match.arch}{classes}, which was taken; "
        "--arch says otherwise"
    )
    return replace(loaded, notes=(note, *loaded.notes, *left_out))


def _by_name(matches: Sequence[Match], facts: Facts) -> list[Match]:
    """The matches that have the name in the checkpoint, where there are any; the trainer's own first."""
    if facts.trainer == TIMM:
        matches = sorted(matches, key=lambda match: not match.arch.startswith("timm:"))
    if facts.arch is None:
        return list(matches)
    name = facts.arch.rpartition("/")[2].partition(".")[0].lower().replace("-", "_")
    return [match for match in matches if match.arch.partition(":")[2] == name] or list(matches)


def _hint(facts: Facts) -> str:
    if facts.arch is None:
        return _NO_NETWORK
    return f"{_NO_NETWORK}; the checkpoint says {facts.arch!r}"


def _same_answers(first: LoadedModel, second: LoadedModel) -> bool:
    import torch

    size = first.preprocess.crop if first.preprocess else None
    channels = first.preprocess.channels if first.preprocess else 3
    inputs = torch.randn(2, channels, *(size or (224, 224)), generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            answers = [loaded.module.eval()(inputs) for loaded in (first, second)]
        return bool(torch.allclose(answers[0], answers[1], rtol=1e-3, atol=1e-4))
    except Exception:  # another image size, or no tensor
        return False


def _with_own_head(request: LoadRequest, state: Mapping[str, Any], match: Match, path: Path) -> LoadedModel:
    """A network whose last layer was replaced: done for a linear layer, else the code to be completed."""
    import torch

    shapes = dict(match.own_head)
    weights = [name for name, shape in shapes.items() if len(shape) == 2]
    place = weights[0].removeprefix(f"{match.head}.").partition(".")[0] if len(weights) == 1 else ""
    names = {f"{match.head}.{place}.weight", f"{match.head}.{place}.bias"}
    if not place.isdecimal() or not names >= set(shapes):
        raise _own_head_error(request, match)
    loaded = build_architecture(replace(request, arch=match.arch), state)
    rows, columns = shapes[weights[0]]
    head = torch.nn.Sequential(*(torch.nn.Identity() for _ in range(int(place))))
    head.append(torch.nn.Linear(columns, rows, bias=len(shapes) == 2))
    parent, _, last = match.head.rpartition(".")
    setattr(loaded.module.get_submodule(parent), last, head)
    left_out = fit_weights(loaded.module, state, path)
    note = (
        f"the names and shapes of the weights are those of {match.arch}, with {rows} classes from a linear "
        f"layer {match.head}.{place}, before which nothing but dropout is assumed; --arch says otherwise"
    )
    return replace(loaded, labels=None, notes=(note, *loaded.notes, *left_out))


def _own_head_error(request: LoadRequest, match: Match) -> UsageError:
    kind, _, name = match.arch.partition(":")
    build = f"torchvision.models.{name}()" if kind == "torchvision" else f"timm.create_model({name!r})"
    linear = [shape for _, shape in match.own_head if len(shape) == 2]
    layers = ", ".join(f"nn.Linear({shape[1]}, {shape[0]})" for shape in linear) or "..."
    return UsageError(
        f"{request.source} holds the weights of {match.arch} with a last layer of its own: "
        + _listed([f"{name} [{','.join(map(str, shape))}]" for name, shape in match.own_head]),
        hint="write the network as you trained it into net.py, and add --arch net:build\n\n"
        f"    import {kind}\n    from torch import nn\n\n    def build():\n        net = {build}\n"
        f"        net.{match.head} = nn.Sequential({layers})  # and what stood between them\n"
        "        return net\n",
    )


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (", ..." if len(items) > _SHOWN else "")
