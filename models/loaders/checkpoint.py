"""Checkpoints: weights for a network that `--arch` names or that they fit, or a whole pickled network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.models.loaders import architecture
from pinnace.models.loaders.architecture import build_architecture
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.facts import Facts, read_facts
from pinnace.models.loaders.fitting import fit_weights
from pinnace.models.loaders.proposal import propose
from pinnace.models.loaders.recognise import recognise
from pinnace.models.loaders.state_dict import find_weights
from pinnace.models.loaders.trained import as_it_is_exported, facts_of_learner, inner_network
from pinnace.models.loaders.unpickle import read
from pinnace.models.loaders.wrappers import unwrap

if TYPE_CHECKING:
    import torch

_PLACE = re.compile(r"taken from '([^']*)'")
_SNIPPET = """\
state = {read}{within}
names = model.state_dict()
prefixes = {{name[: len(name) - len(own)] for name in state for own in names if name.endswith(own)}} | {{""}}
prefix = max(prefixes, key=lambda prefix: sum(prefix + own in state for own in names))
state = {{name[len(prefix) :]: state[name] for name in state if name.startswith(prefix)}}
model.load_state_dict(state, strict=False)
"""


def load_checkpoint(request: LoadRequest, path: Path) -> LoadedModel:
    """Load weights into the network of `--arch` or the one that they fit, or take the network in the file.

    What the checkpoint says of class names and preprocessing is taken, and told.

    Raises:
        UsageError: `--arch` is missing, or the weights that are wanted are not there.
        SourceError: the file is damaged, would run code, or does not fit.
        CheckFailed: a weight is NaN or infinite.
    """
    data = read(path, trust=request.trust, folder=Path(request.folder).absolute())
    facts = read_facts(data)
    if (network := inner_network(data)) is not None:
        data, facts = network, facts_of_learner(data, facts)
    found, notes = find_weights(data, path, request.weights)
    del data
    loaded = _filled(request, found, facts, path)
    return facts.applied_to(replace(loaded, notes=(*notes, *loaded.notes)))


def _filled(request: LoadRequest, found: Any, facts: Facts, path: Path) -> LoadedModel:
    import torch

    if isinstance(found, torch.nn.Module):
        network: torch.nn.Module = unwrap(found)
        if request.arch is None:
            as_it_is_exported(network)
            return LoadedModel(network)
        found = network.state_dict()
    if request.arch is None:
        return propose(request, found, facts, path)
    loaded = build_architecture(request, found)
    left_out = fit_weights(unwrap(loaded.module), found, path)
    return replace(loaded, notes=(*loaded.notes, *left_out))


def snippet(request: LoadRequest, path: Path) -> str:
    """Lines that read a checkpoint with torch alone: a network, or weights and the network that they fit."""
    read_it = f"torch.load({str(path)!r}, map_location='cpu', weights_only={not request.trust})"
    if path.suffix == ".safetensors":
        read_it = f"__import__('safetensors.torch').torch.load_file({str(path)!r})"
    place: str | None = None
    try:
        data = read(path, trust=False)
        found, notes = find_weights(data, path, request.weights)
        place = match[1] if (match := _PLACE.search(" ".join(notes))) else None
        matches = recognise(found) if isinstance(found, Mapping) else []
    except Exception:  # the script shows what the export stumbled over
        matches = []
    if request.arch is None and not matches:
        return f"model = {read_it.replace('True', 'False')}\n"
    same = [match for match in matches if match.arch == (request.arch or match.arch)]
    if same and request.num_classes is None:
        request = replace(request, arch=same[0].arch, num_classes=same[0].classes)
    within = "" if place is None else "".join(f"[{key!r}]" for key in place.split("."))
    return architecture.snippet(request) + _SNIPPET.format(read=read_it, within=within)
