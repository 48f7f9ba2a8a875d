"""Checkpoints: weights for a network that `--arch` names or that they fit, or a whole pickled network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.models.loaders.architecture import build_architecture
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.facts import Facts, read_facts
from pinnace.models.loaders.fitting import fit_weights
from pinnace.models.loaders.proposal import propose
from pinnace.models.loaders.state_dict import find_weights
from pinnace.models.loaders.trained import as_it_is_exported, facts_of_learner, inner_network
from pinnace.models.loaders.unpickle import read
from pinnace.models.loaders.wrappers import unwrap

if TYPE_CHECKING:
    import torch


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
