"""The loaders: one module for each kind of source, found by looking into this folder.

`pinnace.export` runs them in a child interpreter.
"""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING

from pinnace.models.errors import UsageError
from pinnace.models.loaders.base import LoadedModel, Loader, LoadRequest, OnnxFile
from pinnace.models.loaders.wrappers import unwrap
from pinnace.models.plugins import declared
from pinnace.models.source import UNNAMED, Source

if TYPE_CHECKING:
    import torch


@cache
def all_loaders() -> dict[str, Loader]:
    """Every loader by the kind of its sources, in the order in which they are listed."""
    found: list[Loader] = declared(__name__, __path__, "LOADER")
    return {loader.kind: loader for loader in sorted(found, key=lambda loader: loader.rank)}


def parse_source(text: str) -> Source:
    """Read a source string, such as `torchvision:resnet18@none`; `str` of what comes back is the same string.

    Raises:
        UsageError: the string has none of the forms of the loaders.
    """
    kind, colon, rest = text.partition(":")
    kind, rest = (kind, rest) if colon else (UNNAMED, text)
    loader = None if colon and kind == UNNAMED else all_loaders().get(kind)
    parts = loader.parse(rest) if loader is not None else None
    if parts is None or not parts[0]:
        if (meant := _nearest(kind, rest)) is not None:
            raise UsageError(f"{text!r} is not a model source", hint=f"did you mean {meant}?")
        raise UsageError(
            f"{text!r} is not a model source",
            expected="; ".join(loader.form for loader in all_loaders().values()),
            hint="`pinnace models` lists the catalogue",
        )
    name, ref, entry = parts
    return Source(kind, name, ref, entry)


def _nearest(kind: str, rest: str) -> str | None:
    """The source that was meant where its kind is misspelt."""
    found = get_close_matches(kind, all_loaders(), n=1)
    return f"{found[0]}:{rest}" if found and kind and found[0] != kind else None


def load(request: LoadRequest) -> LoadedModel | OnnxFile:
    """Load a model in this interpreter: on the CPU, in float32, in eval mode and without gradients.

    Raises:
        As `pinnace.models.loaders.base.Loader.load`.
    """
    loader = all_loaders().get(request.source.kind)
    if loader is None:
        raise UsageError(f"sources of the kind {request.source.kind} cannot be loaded by this version")
    loaded = loader.load(request)
    if isinstance(loaded, LoadedModel):
        loaded = replace(loaded, module=unwrap(loaded.module))
        _prepare_for_inference(loaded.module)
    return loaded


def _prepare_for_inference(module: torch.nn.Module) -> None:
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
