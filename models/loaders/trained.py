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

    Its validation squeezes an image whose item transform is `Resize(method="squish")`, and else cuts out the
    largest centred part of the input's shape before it resizes that. Batch transforms may resize it again;
    pixels are scaled to 0..1 and normalised where they say so.
    """
    vocab = getattr(getattr(data, "dls", None), "vocab", None)
    if vocab is not None:
        names = tuple(map(str, vocab))
        facts = replace(facts, labels=names, labels_from="dls.vocab")
    items, batches = _steps(data, "after_item"), _steps(data, "after_batch")
    resize = next((step for step in items if type(step).__name__ == "Resize"), None)
    normalise = next((step for step in batches if type(step).__name__ == "Normalize"), None)
    size = _pair(getattr(resize, "size", None))
    if size is None:
        return replace(facts, trainer=FASTAI)
    height, width = size[1], size[0]  # fastai has the width first in `Resize`, and the height in batches
    again = [pair for step in batches if (pair := _pair(getattr(step, "size", None)))]
    caveats = []
    if again and again[-1] != (height, width):
        first, (height, width) = f"{height}x{width}", again[-1]
        caveats.append(
            f"fastai resizes images to {first} and then, in the batch, to {height}x{width}; that cannot be "
            "had to the bit, and here they are resized once"
        )
    method = str(getattr(resize, "method", "crop"))
    if method == "pad":
        caveats.append("fastai pads images to the shape of the input, which cannot be had: here they are cut")
    mean: tuple[float, ...] = (0.0,) * 3
    std: tuple[float, ...] = (1.0,) * 3
    if normalise is not None:
        mean, std = (tuple(map(float, getattr(normalise, name).flatten())) for name in ("mean", "std"))
    preprocess = Preprocess(
        (height, width),
        "bilinear",
        None,
        "RGB",
        mean,
        std,
        aspect="squeeze" if method == "squish" else "crop",
    )
    return replace(facts, trainer=FASTAI, preprocess=preprocess, caveat="; ".join(caveats) or None)


def _pair(size: object) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, tuple) and len(size) == 2 else None


def _steps(data: Any, name: str) -> list[Any]:
    pipeline = getattr(getattr(data, "dls", None), name, None)
    return list(getattr(pipeline, "fs", pipeline) or ())


def as_it_is_exported(module: torch.nn.Module) -> None:
    """Let the last layer of Ultralytics' networks give probabilities alone, as their own exports do."""
    for part in module.modules():
        if type(part).__module__.startswith("ultralytics.") and hasattr(part, "export"):
            vars(part)["export"] = True
