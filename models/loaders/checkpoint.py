"""Checkpoints: weights for the network that `--arch` builds, or a whole pickled network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pinnace.models.errors import SourceError, UsageError
from pinnace.models.loaders.architecture import build_architecture
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.foreign import describe
from pinnace.models.loaders.state_dict import find_weights, fit, plain_state
from pinnace.models.loaders.unpickle import read

if TYPE_CHECKING:
    import torch

_SHOWN = 5


def load_checkpoint(request: LoadRequest, path: Path) -> LoadedModel:
    """Load weights strictly into the network of `--arch`, or take the network that the file holds.

    Raises:
        UsageError: `--arch` is missing.
        SourceError: the file is damaged, would run code, or does not fit.
        CheckFailed: a weight is NaN or infinite.
    """
    import torch

    found, notes = find_weights(read(path, trust=request.trust, folder=Path(request.folder).absolute()), path)
    if isinstance(found, torch.nn.Module) and request.arch is None:
        return LoadedModel(found, notes=notes)
    if request.arch is None:
        raise UsageError(
            f"{request.source} holds weights, not a network",
            hint="say what builds the network: --arch package.module:factory or --arch torchvision:resnet18",
        )
    weights = found.state_dict() if isinstance(found, torch.nn.Module) else found
    state = {str(name): tensor.detach() for name, tensor in weights.items()}
    del found, weights
    loaded = build_architecture(request)
    _load_strictly(loaded.module, state, path)
    return LoadedModel(loaded.module, loaded.preprocess, loaded.labels, (*loaded.notes, *notes))


def _load_strictly(module: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    wanted = module.state_dict()
    state = fit(state, wanted)
    # Before a value is looked at: a file of a few bytes can claim to hold a weight of terabytes.
    if problems := _problems(state, wanted):
        raise SourceError(
            f"{path} does not fit the network: " + "; ".join(problems),
            hint="check --arch and --num-classes",
        )
    for name, value in state.items():
        if name in wanted and value.is_complex() and not wanted[name].is_complex():
            raise SourceError(f"the weight {name} in {path} is complex, and the network's is real")
    state = plain_state(state, path)
    shaped = {
        name: value.to(wanted[name].dtype) if name in wanted else value for name, value in state.items()
    }
    state.clear()
    try:
        # Assigned, not copied: a large checkpoint is then in memory once.
        module.load_state_dict(shaped, strict=False, assign=True)
    except RuntimeError as error:
        raise SourceError(f"{path} does not fit the network: {describe(error)}") from error


def _problems(state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> list[str]:
    missing = [
        f"{name} {_shape(wanted[name])}"
        for name in wanted
        # Checkpoints from before torch 0.4.1 lack it, and eval mode never looks at it.
        if name not in state and not name.endswith("num_batches_tracked")
    ]
    unexpected = [f"{name} {_shape(state[name])}" for name in state if name not in wanted]
    other = [
        f"{name} {_shape(state[name])} instead of {_shape(wanted[name])}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    return [
        f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
        if names
    ]


def _shape(tensor: torch.Tensor) -> str:
    return "[" + ",".join(map(str, tensor.shape)) + "]"
