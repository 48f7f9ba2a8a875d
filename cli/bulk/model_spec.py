"""How a bundle is opened, as data that another process can be handed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pinnace.models.answer import Answer, Embedding
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.embedder import Embedder
from pinnace.models.predictions import check_top_k
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.selection import answering, select
from pinnace.models.uses import Use, require


@dataclass(frozen=True)
class ModelSpec:
    """Which model, and what is asked of it.

    Attributes:
        folder: the bundle's.
        use: `classify` or `embed`.
        top_k: how many classes; None for the usual number.
        variant: a variant's name, or None for the first that runs.
        runtime: a runtime's name, or None for the preferred one.
        options: threads, device and calls at once.
        threshold: from which score on a label counts as true, or None for the bundle's.
    """

    folder: Path
    use: Use
    top_k: int | None = None
    variant: str | None = None
    runtime: str | None = None
    options: RuntimeOptions = field(default_factory=lambda: RuntimeOptions(threads=1))
    threshold: float | None = None

    def open(self) -> Classifier | Embedder:
        """Load the model.

        Raises:
            PinnaceError: as `Classifier` and `Embedder`, or `top_k` is out of range.
        """
        bundle = Bundle.open(self.folder)
        if self.use == "embed":
            return Embedder(bundle, self.variant, self.runtime, self.options)
        classifier = Classifier(bundle, self.variant, self.runtime, self.options, self.threshold)
        classifier.check_top_k(self.top_k)
        return classifier

    def asker(self) -> Callable[[str], Answer | Embedding]:
        """Load the model, and return what answers for one image, safe to call from several threads."""
        return self.of(self.open())

    def of(self, model: Classifier | Embedder) -> Callable[[str], Answer | Embedding]:
        """What answers for one image with a model that is open."""
        if isinstance(model, Classifier):
            classify = model.classify
            return lambda image: classify(image, self.top_k)
        return model.embed

    def check(self) -> None:
        """Refuse what can be refused before anything is loaded.

        Raises:
            PinnaceError: the bundle is not one, is not fit for the use, or lacks the variant; or `top_k` or
                the threshold is out of range.
        """
        bundle = Bundle.open(self.folder)
        require(self.use, bundle)
        if self.use == "classify":
            check_top_k(self.top_k, len(bundle.labels))
            bundle.outputs.with_threshold(self.threshold)
        if self.variant is not None:
            bundle.variant(self.variant)

    @property
    def device(self) -> str:
        """Where the model will run: `cpu` or `cuda`."""
        if self.options.device is not None:
            return self.options.device
        bundle = Bundle.open(self.folder)
        _, runtime = answering(bundle, select(bundle, self.variant, self.runtime, use_profile=False))
        return "cpu" if runtime is None else all_runtimes()[runtime].devices[0]
