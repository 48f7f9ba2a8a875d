"""Checkpoints on disk: a `state_dict`, loaded into a network that `--arch` builds."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.models.errors import CheckFailed, SourceError, UsageError
from pinnace.models.loaders.architecture import build_architecture
from pinnace.models.loaders.base import LoadedModel, LoadRequest

if TYPE_CHECKING:
    import torch

_SHOWN = 5


def load(request: LoadRequest) -> LoadedModel:
    """Read the checkpoint with `weights_only=True`, build the network, and load it strictly."""
    path = Path(request.folder) / Path(request.source.name).expanduser()
    if not path.is_file():
        raise SourceError(f"there is no file {path}")
    if request.arch is None:
        raise UsageError(
            f"{request.source} holds weights, not a network",
            hint="say what builds the network: --arch package.module:factory or --arch torchvision:resnet18",
        )
    state = read_state_dict(path)
    loaded = build_architecture(request)
    _load_strictly(loaded.module, state, path)
    return loaded


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, on the CPU, in float32 where they are floating.

    Raises:
        SourceError: the file is no checkpoint, or would run code on loading.
        CheckFailed: a weight is NaN or infinite.
    """
    import torch

    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty")
    try:
        data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "unsupported global" in str(error).lower():
            raise SourceError(
                f"{path} holds more than tensors, and loading it could run code, so nothing was loaded",
                expected="a state_dict of tensors",
                hint="save it again with torch.save(model.state_dict(), PATH)",
            ) from None
        # torch's own sentence would advise to load it without weights_only.
        raise _damaged(path, "it is no pickle of tensors") from None
    except Exception as error:  # damaged bytes raise whatever the unpickler stumbles over
        raise _damaged(path, str(error).strip() or type(error).__name__) from None
    if not isinstance(data, Mapping) or not data:
        raise SourceError(f"{path} is no state_dict", expected="tensors by name", got=type(data).__name__)
    for name, value in data.items():
        if not isinstance(value, torch.Tensor):
            raise SourceError(
                f"{path} is no plain state_dict: {name!r} is no tensor", got=type(value).__name__
            )
    state = {str(name): value.float() if value.is_floating_point() else value for name, value in data.items()}
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckFailed(f"the weight {name} in {path} is not finite: it holds NaN or infinity")
    return state


def _damaged(path: Path, reason: str) -> SourceError:
    first, *_ = reason.splitlines()[0].split(". ")
    return SourceError(f"{path} cannot be read as a checkpoint: {first.rstrip('.')}")


def _load_strictly(module: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    wanted = module.state_dict()
    missing = [f"{name} {_shape(wanted[name])}" for name in wanted if name not in state]
    unexpected = [f"{name} {_shape(state[name])}" for name in state if name not in wanted]
    other = [
        f"{name} {_shape(state[name])} instead of {_shape(wanted[name])}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    problems = [
        f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
        if names
    ]
    if problems:
        raise SourceError(
            f"{path} does not fit the network: " + "; ".join(problems),
            hint="check --arch and --num-classes",
        )
    module.load_state_dict(state)


def _shape(tensor: torch.Tensor) -> str:
    return "[" + ",".join(map(str, tensor.shape)) + "]"
