"""The loaders: one module for each kind of source, run in a child interpreter by `pinnace.export`."""

from __future__ import annotations

import importlib
import importlib.util

from pinnace.models.errors import MissingDependency, UsageError
from pinnace.models.loaders.base import LoadedModel, LoadRequest


def load(request: LoadRequest) -> LoadedModel:
    """Load a model in this interpreter, in eval mode and without gradients.

    Raises:
        As `Loader.load`.
    """
    name = f"{__name__}.{request.source.kind}"
    if importlib.util.find_spec(name) is None:
        raise UsageError(f"sources of the kind {request.source.kind} cannot be loaded by this version")
    if importlib.util.find_spec("torch") is None:
        raise MissingDependency(
            "loading a model needs torch, which is not installed", hint="pip install 'pinnace[export]'"
        )
    loaded: LoadedModel = importlib.import_module(name).load(request)
    loaded.module.eval()
    loaded.module.requires_grad_(False)
    return loaded
