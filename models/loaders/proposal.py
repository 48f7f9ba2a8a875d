"""Weights without `--arch`: the network is taken that they fit, or the command that says which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pinnace.models.errors import UsageError
from pinnace.models.loaders.architecture import build_architecture
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.facts import TIMM, Facts
from pinnace.models.loaders.fastai_weights import load_fastai, recognise_fastai
from pinnace.models.loaders.fitting import fit_weights
from pinnace.models.loaders.recognise import Match, recognise

_SHOWN = 8
_NO_NETWORK = "say what builds the network: --arch package.module:factory or --arch torchvision:resnet18"


def propose(request: LoadRequest, state: Mapping[str, Any], facts: Facts, path: Path) -> LoadedModel:
    """Build and fill the network of torchvision or timm that the weights fit.

    Weights of a fastai Learner have a network of their own. Where several fit, torchvision's is taken, or the
    first if all answer the same, as a DeiT and a ViT do.

    Raises:
        UsageError: none fits, several do that answer differently, or the last layer is the user's own.
    """
    if (learner := recognise_fastai(state)) is not None:
        return load_fastai(request, state, learner, path)
    matches = _by_name(recognise(state), facts)
    if not matches:
        raise UsageError(f"{request.source} holds weights, not a network", hint=_hint(facts))
    if matches[0].own_head:
        return _with_own_head(request, state, matches[0], path)
    match, *others = matches
    loaded, left_out = _filled(request, state, match, path)
    classes = f" with {match.classes} classes" if match.classes is not None else ""
    note = f"the names and shapes of the weights are those of {match.arch}{classes}, which was taken"
    different = [other for other in others if not _answers_same(request, state, other, path, loaded)]
    if different and not match.arch.startswith("torchvision:"):
        option = f" --num-classes {match.classes}" if match.classes else ""
        raise UsageError(
            f"the names and shapes in {path} are those of {len(matches)} networks, which answer differently",
            expected="--arch with one of " + _listed([match.arch for match in matches]),
            hint=f"say which one you trained, for example --arch {match.arch}{option}",
        )
    if different:
        names = _listed([other.arch for other in different])
        note += f", and also of {names}, which would answer differently"
    return replace(loaded, notes=(f"{note}; --arch says otherwise", *loaded.notes, *left_out))


def _filled(
    request: LoadRequest, state: Mapping[str, Any], match: Match, path: Path
) -> tuple[LoadedModel, tuple[str, ...]]:
    loaded = build_architecture(replace(request, arch=match.arch), state)
    return loaded, fit_weights(loaded.module, state, path)


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


def _answers_same(
    request: LoadRequest, state: Mapping[str, Any], other: Match, path: Path, chosen: LoadedModel
) -> bool:
    """Whether another network with these weights gives the same answers to noise."""
    import torch

    size = chosen.preprocess.crop if chosen.preprocess else None
    channels = chosen.preprocess.channels if chosen.preprocess else 3
    inputs = torch.randn(2, channels, *(size or (224, 224)), generator=torch.Generator().manual_seed(0))
    try:
        second, _ = _filled(request, state, other, path)
        with torch.inference_mode():
            first, other_answers = (loaded.module.eval().float()(inputs) for loaded in (chosen, second))
        # Beside the answers themselves: those of an untrained network are small, and not therefore the same.
        return bool((first - other_answers).abs().max() <= 1e-3 * first.abs().max())
    except Exception:  # it takes another image size, or is not in this version of timm
        return False


def _with_own_head(request: LoadRequest, state: Mapping[str, Any], match: Match, path: Path) -> LoadedModel:
    """A network whose last layer was replaced: done for a linear layer, else the code to be completed."""
    import torch

    shapes = dict(match.own_head)
    weights = [name for name, shape in shapes.items() if len(shape) == 2]
    layer = weights[0].rpartition(".")[0] if len(weights) == 1 else ""
    place = layer.removeprefix(match.head).removeprefix(".")
    if not {f"{layer}.weight", f"{layer}.bias"} >= set(shapes) or not (place.isdecimal() or not place):
        raise _own_head_error(request, match)
    loaded = build_architecture(replace(request, arch=match.arch), state)
    rows, columns = shapes[weights[0]]
    head: torch.nn.Module = torch.nn.Linear(columns, rows, bias=len(shapes) == 2)
    if place:
        head = torch.nn.Sequential(*(torch.nn.Identity() for _ in range(int(place))), head)
    parent, _, last = match.head.rpartition(".")
    setattr(loaded.module.get_submodule(parent), last, head)
    left_out = fit_weights(loaded.module, state, path)
    note = (
        f"the names and shapes of the weights are those of {match.arch}, with {rows} classes from a linear "
        f"layer {layer}, before which nothing but dropout is assumed; --arch says otherwise"
    )
    return replace(loaded, labels=None, notes=(note, *loaded.notes, *left_out))


def _own_head_error(request: LoadRequest, match: Match) -> UsageError:
    kind, _, name = match.arch.partition(":")
    build = f"torchvision.models.{name}()" if kind == "torchvision" else f"timm.create_model({name!r})"
    layers = {
        name.removeprefix(f"{match.head}.").partition(".")[0]: f"nn.Linear({shape[1]}, {shape[0]})"
        for name, shape in match.own_head
        if len(shape) == 2
    }
    last = max((int(place) for place in layers if place.isdecimal()), default=-1)
    parts = ", ".join(layers.get(str(place), "...") for place in range(last + 1)) or "..."
    return UsageError(
        f"{request.source} holds the weights of {match.arch} with a last layer of its own: "
        + _listed([f"{name} [{','.join(map(str, shape))}]" for name, shape in match.own_head]),
        hint="write the network as you trained it into net.py, and add --arch net:build\n\n"
        f"    import {kind}\n    from torch import nn\n\n    def build():\n        net = {build}\n"
        f"        net.{match.head} = nn.Sequential({parts})  # for ... what stood there\n"
        "        return net\n",
    )


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (", ..." if len(items) > _SHOWN else "")
