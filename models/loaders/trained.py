"""Networks that trainers pickle whole, with what stands beside them: Ultralytics, fastai."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pinnace.models.image.preprocess import Preprocess
from pinnace.models.loaders.facts import FASTAI, Facts

if TYPE_CHECKING:
    import torch


def inner_network(data: Any) -> torch.nn.Module | None:
    """The network of fastai's exported Learner, or None."""
    import torch

    if type(data).__name__ == "Learner" and isinstance(getattr(data, "model", None), torch.nn.Module):
        module: torch.nn.Module = data.model
        return module
    return None


def facts_of_learner(data: Any, facts: Facts) -> Facts:
    """Class names and preprocessing of fastai's exported Learner.

    Its validation squeezes an image whose item transform is `Resize(method="squish")`, and crops it
    otherwise; pixels are scaled to 0..1 and normalised where the batch transforms say so.
    """
    vocab = getattr(getattr(data, "dls", None), "vocab", None)
    if vocab is not None:
        names = tuple(map(str, vocab))
        facts = replace(facts, labels=names, labels_from="dls.vocab")
    steps = _steps(data)
    resize = next((step for step in steps if type(step).__name__ == "Resize"), None)
    normalise = next((step for step in steps if type(step).__name__ == "Normalize"), None)
    size = getattr(resize, "size", None)
    if not isinstance(size, tuple) or len(size) != 2:
        return replace(facts, trainer=FASTAI)
    height, width = int(size[1]), int(size[0])  # fastai has the width first
    squeezed = getattr(resize, "method", "crop") == "squish"
    mean: tuple[float, ...] = (0.0,) * 3
    std: tuple[float, ...] = (1.0,) * 3
    if normalise is not None:
        mean, std = (tuple(map(float, getattr(normalise, name).flatten())) for name in ("mean", "std"))
    preprocess = Preprocess(
        (height, width) if squeezed else max(height, width),
        "bilinear",
        None if squeezed else (height, width),
        "RGB",
        mean,
        std,
    )
    caveat = None if squeezed else "fastai crops before it resizes, which moves the picture by up to a pixel"
    return replace(facts, trainer=FASTAI, preprocess=preprocess, caveat=caveat)


def _steps(data: Any) -> list[Any]:
    found: list[Any] = []
    for name in ("after_item", "after_batch"):
        pipeline = getattr(getattr(data, "dls", None), name, None)
        found += list(getattr(pipeline, "fs", pipeline) or ())
    return found


def as_it_is_exported(module: torch.nn.Module) -> None:
    """Let the last layer of Ultralytics' networks give probabilities alone, as their own exports do."""
    for part in module.modules():
        if type(part).__module__.startswith("ultralytics.") and hasattr(part, "export"):
            vars(part)["export"] = True
