"""Checkpoints: weights for the network that `--arch` builds, or a whole pickled network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pinnace.models.errors import UsageError
from pinnace.models.loaders.architecture import build_architecture
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.fitting import fit_weights
from pinnace.models.loaders.state_dict import find_weights
from pinnace.models.loaders.unpickle import read
from pinnace.models.loaders.wrappers import unwrap


def load_checkpoint(request: LoadRequest, path: Path) -> LoadedModel:
    """Load weights into the network of `--arch`, or take the network that the file holds.

    Raises:
        UsageError: `--arch` is missing, or the weights that are wanted are not there.
        SourceError: the file is damaged, would run code, or does not fit.
        CheckFailed: a weight is NaN or infinite.
    """
    import torch

    data = read(path, trust=request.trust, folder=Path(request.folder).absolute())
    found, notes = find_weights(data, path, request.weights)
    if isinstance(found, torch.nn.Module) and request.arch is None:
        return LoadedModel(found, notes=notes)
    if request.arch is None:
        raise UsageError(
            f"{request.source} holds weights, not a network",
            hint="say what builds the network: --arch package.module:factory or --arch torchvision:resnet18",
        )
    state = unwrap(found).state_dict() if isinstance(found, torch.nn.Module) else found
    del found, data
    loaded = build_architecture(request, state)
    left_out = fit_weights(unwrap(loaded.module), state, path)
    return replace(loaded, notes=(*loaded.notes, *notes, *left_out))
