"""What `--arch` names: a factory of the user's own, or a network of torchvision."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from pinnace.models.errors import SourceError, UsageError
from pinnace.models.loaders.base import LoadedModel, LoadRequest

if TYPE_CHECKING:
    import torch


def build_architecture(request: LoadRequest) -> LoadedModel:
    """Build an untrained network from `request.arch`.

    Raises:
        UsageError: `arch` has no known form, or names what is not there.
        SourceError: the factory fails.
    """
    arch = request.arch or ""
    prefix, _, rest = arch.partition(":")
    if not prefix or not rest:
        raise UsageError(
            f"--arch {arch!r} names no network", expected="package.module:factory or torchvision:NAME"
        )
    if prefix == "torchvision":
        from pinnace.models.loaders import torchvision
        from pinnace.models.source import Source

        source = Source("torchvision", rest, ref=torchvision.NO_WEIGHTS)
        described = torchvision.load(
            LoadRequest(source, num_classes=request.num_classes, folder=request.folder)
        )
        return LoadedModel(described.module, described.preprocess, described.labels)
    return LoadedModel(_build_own(prefix, rest, request))


def _build_own(module_name: str, factory_name: str, request: LoadRequest) -> torch.nn.Module:
    import torch

    if request.folder not in sys.path:
        sys.path.insert(0, request.folder)
    try:
        target: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise UsageError(
                f"--arch {request.arch}: there is no module {module_name} in {request.folder}",
                hint="run the command in the folder from which your code imports it",
            ) from None
        raise SourceError(f"--arch {request.arch}: importing it needs the module {error.name}") from error
    except Exception as error:
        raise SourceError(f"--arch {request.arch}: importing it fails: {_describe(error)}") from error
    for part in factory_name.split("."):
        target = getattr(target, part, None)
    if not callable(target):
        raise UsageError(f"--arch {request.arch}: {module_name} has no {factory_name}")
    arguments = {} if request.num_classes is None else {"num_classes": request.num_classes}
    try:
        module = target(**arguments)
    except Exception as error:
        raise SourceError(f"--arch {request.arch}: building the network fails: {_describe(error)}") from error
    if not isinstance(module, torch.nn.Module):
        raise SourceError(
            f"--arch {request.arch} does not build a network",
            expected="a torch.nn.Module",
            got=type(module).__name__,
        )
    return module


def _describe(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
