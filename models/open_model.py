"""Opens a bundle as what it is: a classifier, or a network that embeds."""

from __future__ import annotations

from typing import TypeAlias

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.embedder import Embedder
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.uses import require

AnsweringModel: TypeAlias = Classifier | Embedder


def open_model(
    bundle: Bundle,
    variant: str | None = None,
    runtime: str | None = None,
    options: RuntimeOptions | None = None,
    threshold: float | None = None,
) -> AnsweringModel:
    """Load a variant of a bundle.

    Args:
        bundle: a bundle of a model that takes an image.
        variant: a variant's name; the first that runs here by default.
        runtime: a runtime's name; the preferred one that works here by default.
        options: threads and device.
        threshold: from which score on a label counts as true, where several may be; no matter elsewhere.

    Raises:
        UsageError: the model neither classifies nor embeds, or there is no such variant or runtime.
        Others: as `Classifier` and `Embedder`.
    """
    require("serve", bundle)
    if bundle.outputs.meaning == "embedding":
        return Embedder(bundle, variant, runtime, options)
    threshold = threshold if bundle.outputs.several_labels else None
    return Classifier(bundle, variant, runtime, options, threshold)
