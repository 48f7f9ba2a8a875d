"""The loaders: one module for each kind of source, run in a child interpreter by `pinnace.export`."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

from pinnace.models.errors import UsageError
from pinnace.models.loaders.base import LoadedModel, LoadRequest, OnnxFile

if TYPE_CHECKING:
    import torch


def load(request: LoadRequest) -> LoadedModel | OnnxFile:
    """Load a model in this interpreter: on the CPU, in float32, in eval mode and without gradients.

    Raises:
        As `Loader.load`.
    """
    name = f"{__name__}.{request.source.kind}"
    if importlib.util.find_spec(name) is None:
        raise UsageError(f"sources of the kind {request.source.kind} cannot be loaded by this version")
    loaded: LoadedModel | OnnxFile = importlib.import_module(name).load(request)
    if isinstance(loaded, LoadedModel):
        _settle(loaded.module)
    return loaded


def _settle(module: torch.nn.Module) -> None:
    import torch

    module.eval()
    for part in module.modules():
        if part.training:  # an eval of their own that does nothing, as wrappers of frozen networks have
            part.training = False
    state = [*module.parameters(), *module.buffers()]
    if any(tensor.device.type != "cpu" for tensor in state):
        module.to("cpu")
    if any(tensor.is_floating_point() and tensor.dtype != torch.float32 for tensor in state):
        module.float()
    for parameter in module.parameters():  # not module.requires_grad_, which TorchScript does not have
        parameter.requires_grad_(False)
