"""What training puts around a network: DataParallel, torch.compile, averaging. In a bundle it is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def unwrap(module: torch.nn.Module) -> torch.nn.Module:
    """The network without DataParallel, DistributedDataParallel, AveragedModel and torch.compile around it.

    They are also taken off the networks within it. DataParallel that was saved on a machine with a GPU would
    look for that GPU.
    """
    import torch

    module = _inner(module)
    if isinstance(module, torch.jit.ScriptModule):
        return module
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and (inner := _inner(child)) is not child:
                parent._modules[name] = inner
    return module


def _inner(module: torch.nn.Module) -> torch.nn.Module:
    import torch

    wrappers = (
        torch.nn.DataParallel,
        torch.nn.parallel.DistributedDataParallel,
        torch.optim.swa_utils.AveragedModel,
    )
    while True:
        inner = None
        if isinstance(module, wrappers):
            inner = module.module
        elif type(module).__name__ == "OptimizedModule":
            inner = getattr(module, "_orig_mod", None)
        if not isinstance(inner, torch.nn.Module):
            return module
        module = inner
