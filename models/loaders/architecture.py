"""What `--arch` names: a factory of the user's own, or a network of torchvision or timm."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinnace.models.errors import SourceError, UsageError
from pinnace.models.loaders.base import LoadedModel, LoadRequest
from pinnace.models.loaders.foreign import describe, imports_from, in_one_sentence
from pinnace.models.proposal import proposal

if TYPE_CHECKING:
    import torch

_FORMS = "package.module:factory, torchvision:NAME[@WEIGHTS] or timm:NAME"


def build_architecture(request: LoadRequest, state: Mapping[str, Any] | None = None) -> LoadedModel:
    """Build an untrained network from `request.arch`.

    Args:
        request: what builds it, and with which arguments.
        state: the weights that it is built for; what their names and shapes say need not be said again.

    Raises:
        UsageError: `arch` has no known form, or names what is not there.
        SourceError: the factory fails.
    """
    arch = request.arch or ""
    prefix, _, rest = arch.partition(":")
    if not prefix or not rest:
        raise UsageError(f"--arch {arch!r} does not name a network", expected=_FORMS)
    if prefix == "torchvision":
        from pinnace.models.loaders import torchvision

        name, _, weights = rest.partition("@")
        return torchvision.build_untrained(name, weights or None, request.keywords, state)
    if prefix == "timm":
        from pinnace.models.loaders import timm

        return timm.build_untrained(rest, request.keywords, state)
    return LoadedModel(_build_own(prefix, rest, request))


def _build_own(module_name: str, factory_name: str, request: LoadRequest) -> torch.nn.Module:
    import torch

    with imports_from(Path(request.folder).absolute()):
        target = home = _import(module_name, request)
        for part in factory_name.split("."):
            target = getattr(target, part, None)
        if not callable(target):
            found = [name for name, value in vars(home).items() if callable(value) and name[0] != "_"]
            raise UsageError(
                f"--arch {request.arch}: {module_name} has no {factory_name}",
                hint=proposal(factory_name, found, f"{module_name}:"),
            )
        try:
            module = target(**request.keywords)
        except Exception as error:
            raise SourceError(
                f"--arch {request.arch}: building the network fails: {describe(error)}"
            ) from error
    if not isinstance(module, torch.nn.Module):
        raise SourceError(
            f"--arch {request.arch} does not build a network",
            expected="a torch.nn.Module",
            got=type(module).__name__,
        )
    return module


def _import(name: str, request: LoadRequest) -> Any:
    if "/" in name or name.endswith(".py"):
        module = name.removeprefix("./").removesuffix(".py").replace("/", ".")
        raise UsageError(
            f"--arch {request.arch}: {name} is the path of a file, and not the name of a module",
            hint=f"write it as Python imports it: --arch {module}:{(request.arch or '').partition(':')[2]}",
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise UsageError(
                f"--arch {request.arch}: there is no module {name} in {request.folder}",
                hint=proposal(name, [path.stem for path in Path(request.folder).glob("*.py")])
                or "run the command in the folder from which your code imports it",
            ) from None
        with in_one_sentence(f"--arch {request.arch}: importing it", Path(request.folder).absolute()):
            raise
    except Exception as error:
        raise SourceError(f"--arch {request.arch}: importing it fails: {describe(error)}") from error


def snippet(request: LoadRequest) -> str:
    """Lines that build the network of `--arch` without Pinnace."""
    prefix, _, name = (request.arch or "").partition(":")
    name = name.partition("@")[0] if prefix == "torchvision" else name
    arguments = "".join(f", {key}={value!r}" for key, value in request.keywords.items())
    if prefix == "torchvision":
        return f"import torchvision\n\nmodel = torchvision.models.get_model({name!r}{arguments})\n"
    if prefix == "timm":
        return f"import timm\n\nmodel = timm.create_model({name!r}{arguments})\n"
    return (
        f"import sys\n\nsys.path.insert(0, {request.folder!r})\n\n"
        f"import {prefix}\n\nmodel = {prefix}.{name}({arguments.removeprefix(', ')})\n"
    )
