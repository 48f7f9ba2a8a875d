"""How a bundle is opened, as data that another process can be handed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pinnace.models.answer import Answer, Embedding
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.embedder import Embedder
from pinnace.models.predictions import check_top_k
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.selection import RuntimeChoice, answering, select
from pinnace.models.uses import Use, require


@dataclass(frozen=True)
class ModelSpec:
    """Which model, and what is asked of it.

    Attributes:
        bundle: the model's, which is read once: what is opened later has to have the hashes of its manifest.
        use: `classify` or `embed`.
        top_k: how many classes; None for the usual number.
        variant: a variant's name, or None for the first that runs.
        runtime: a runtime's name, or None for the preferred one.
        options: threads, device and calls at once.
        threshold: from which score on a label counts as true, or None for the bundle's.
    """

    bundle: Bundle
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
        if self.use == "embed":
            return Embedder(self.bundle, self.variant, self.runtime, self.options)
        classifier = Classifier(self.bundle, self.variant, self.runtime, self.options, self.threshold)
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
            PinnaceError: the bundle is not fit for the use, or lacks the variant; or `top_k` or the threshold
                is out of range.
        """
        require(self.use, self.bundle)
        if self.use == "classify":
            check_top_k(self.top_k, len(self.bundle.labels))
            self.bundle.outputs.with_threshold(self.threshold)
        if self.variant is not None:
            self.bundle.variant(self.variant)

    def chosen(self, *, use_profile: bool) -> tuple[ModelSpec, str | None]:
        """The same with what a profile names, and a sentence for the user on the profile.

        Args:
            use_profile: whether what `pinnace tune` found is used; see `select`.
        """
        choice = self._choice(use_profile=use_profile)
        options = replace(self.options, device=choice.device)
        return replace(self, variant=choice.variant, runtime=choice.runtime, options=options), choice.note

    def answering(self) -> tuple[str, str | None]:
        """The names of the variant and the runtime that answer here; no runtime where none works."""
        return answering(self.bundle, self._choice(use_profile=False))

    def _choice(self, *, use_profile: bool) -> RuntimeChoice:
        device = self.options.device
        return select(self.bundle, self.variant, self.runtime, device=device, use_profile=use_profile)

    @property
    def device(self) -> str:
        """Where the model will run: `cpu`, `cuda`, `gpu` or `npu`."""
        if self.options.device is not None:
            return self.options.device
        _, runtime = self.answering()
        return "cpu" if runtime is None else all_runtimes()[runtime].devices[0]
