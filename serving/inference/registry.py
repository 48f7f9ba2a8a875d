"""The models of one server process, by name: one or several bundles on the same threads."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio.to_thread
import numpy as np

from pinnace.models.answer import Answer, Embedding
from pinnace.models.bundle import cache
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.errors import BundleError, PinnaceError, UsageError
from pinnace.models.open_model import AnsweringModel
from pinnace.serving.errors import ReloadFailed, UnknownModel
from pinnace.serving.inference.admission import Admission
from pinnace.serving.inference.another_variant import name_beside
from pinnace.serving.inference.engine import InferenceEngine
from pinnace.serving.inference.executor import Executor
from pinnace.serving.inference.explanation import Explainer
from pinnace.serving.inference.inputs import Batch, Item, Upload
from pinnace.serving.inference.layout import Layout
from pinnace.serving.inference.result import InferenceResult
from pinnace.serving.inference.shadow import Shadow
from pinnace.serving.observability.metrics import Metrics
from pinnace.serving.recording.open_recorder import check_record, open_recorder, record_sentences
from pinnace.serving.recording.recorder import Recorder, Seen
from pinnace.serving.settings import ServerSettings

logger = logging.getLogger("pinnace.serving")


class RegisteredModel:
    """A model under its name; which version of its bundle answers may change between two requests."""

    def __init__(self, name: str, folder: Path, engine: InferenceEngine, beside: str | None = None) -> None:
        """Answer with `engine`, opened from `folder` with `beside`, until there is another."""
        self.name = name
        self.folder = folder
        self._beside = beside
        self.engine = engine
        self.shadow: Shadow | None = None
        self.recorder: Recorder | None = None
        self._lock = anyio.Lock()

    @property
    def version(self) -> str:
        """The version that answers now."""
        return self.engine.model.bundle.version

    async def classify(self, upload: Upload) -> Answer:
        """As `InferenceEngine.classify`; a reload cannot come between reading `engine` and calling it."""
        own = upload.function is None  # else the scores are of another kind
        seen = self._begin() if own else None
        answer = await self.engine.classify(upload, seen)
        if own:
            self._answered(upload.image, seen, lambda: answer)
        return answer

    async def classify_batch(self, batch: Batch) -> list[Answer | PinnaceError]:
        """As `InferenceEngine.classify_batch`; one version answers for all images."""
        seen = [self._begin() for _ in batch.images]
        answers = await self.engine.classify_batch(batch, seen)
        for image, one, answer in zip(batch.images, seen, answers, strict=True):
            if not isinstance(image, PinnaceError) and not isinstance(answer, PinnaceError):
                self._answered(image, one, functools.partial(_same, answer))
        return answers

    async def embed(self, image: bytes | str) -> Embedding:
        """As `InferenceEngine.embed`."""
        seen = self._begin()
        embedding = await self.engine.embed(image, seen)
        self._answered(image, seen, lambda: embedding)
        return embedding

    async def infer(self, items: Sequence[Item]) -> tuple[AnsweringModel, list[InferenceResult]]:
        """As `InferenceEngine.infer`, with what answered."""
        engine = self.engine
        # A tensor is preprocessed for this model, and no image.
        seen = [None if isinstance(item, np.ndarray) else self._begin() for item in items]
        rows = await engine.infer(items, seen)
        for item, one, row in zip(items, seen, rows, strict=True):
            if not isinstance(item, np.ndarray):
                self._answered(item, one, functools.partial(_answer, engine.model, row))
        return engine.model, rows

    def _begin(self) -> Seen | None:
        return None if self.recorder is None else self.recorder.begin()

    def _answered(
        self, image: bytes | str, seen: Seen | None, answer: Callable[[], Answer | Embedding]
    ) -> None:
        """Hand an image and what was answered on to the shadow and the record, where there are such."""
        if self.shadow is not None:
            self.shadow.offer(image, answer)
        if self.recorder is not None and seen is not None:
            self.recorder.offer(seen, image, answer)

    async def reload(self, settings: ServerSettings, executor: Executor, folder: Path | None = None) -> bool:
        """Answer with what stands on disk, once it has passed the checks that it would have to pass at start.

        Args:
            settings: what is wanted of it, and limits.
            executor: where images are worked on.
            folder: where it stands; where the one from before stood, by default.

        Returns:
            Whether that is another version than before.

        Raises:
            ReloadFailed: it did not pass; the version from before answers on.
        """
        async with self._lock:
            try:
                fresh = await anyio.to_thread.run_sync(self._load, settings, executor, folder or self.folder)
            except Exception as error:
                if not isinstance(error, PinnaceError):
                    logger.exception("%s cannot be reloaded", self.name)
                raise self.refused(error) from error
            if fresh is None:
                return False
            old, self.engine = self.engine, fresh
            await anyio.to_thread.run_sync(old.retire)
            cache.release(old.model.bundle.folder)
            return True

    def _load(self, settings: ServerSettings, executor: Executor, folder: Path) -> InferenceEngine | None:
        folder = standing(folder)
        bundle = Bundle.open(folder)
        if bundle.version == self.version:
            bundle.check_files()  # a worker that starts later reads them
            return None
        name = name_beside(bundle, self._beside)
        if name != self.name:
            raise BundleError(
                "the bundle has another model", expected=self.name, got=name, hint="restart the server"
            )
        return InferenceEngine.open(settings, folder, executor, self._beside)

    def refused(self, error: Exception) -> ReloadFailed:
        """The error of a bundle that does not take the place of the one that answers."""
        message = error.message if isinstance(error, PinnaceError) else f"{type(error).__name__}: {error}"
        return ReloadFailed(
            f"{self.name} was not reloaded, and version {self.version} answers on: {message}",
            expected=getattr(error, "expected", None),
            got=getattr(error, "got", None),
            hint=getattr(error, "hint", None),
        )


class Registry:
    """All models of a process, and the executor that they share."""

    def __init__(self, models: list[RegisteredModel], settings: ServerSettings, executor: Executor) -> None:
        """Hold some models; the first is the default, for requests that name none."""
        self._models = {model.name: model for model in models}
        self._default = models[0]
        self._settings = settings
        self.executor = executor
        self.explainer = Explainer(settings, executor)

    @classmethod
    def open(cls, settings: ServerSettings, layout: Layout, metrics: Metrics | None = None) -> Registry:
        """Load every bundle, compare it with its golden data, and warm it up.

        Args:
            settings: what to serve, and limits.
            layout: images at once, and threads for each.
            metrics: where images are counted, if they are.

        Raises:
            UsageError: two bundles have the same name.
            PinnaceError: a bundle cannot be served here; see `InferenceEngine.open`.
        """
        folders = bundles_by_name(settings.folders)
        executor = Executor(settings, layout, metrics)
        models: list[RegisteredModel] = []
        try:
            for name, folder in folders.items():
                models.append(
                    RegisteredModel(name, folder, InferenceEngine.open(settings, standing(folder), executor))
                )
            for variant in dict.fromkeys(settings.beside):
                engine = InferenceEngine.open(settings, standing(models[0].folder), executor, variant)
                name = engine.model.bundle.name
                models.append(RegisteredModel(name, models[0].folder, engine, variant))
            _check_threshold(settings, models)
        except BaseException:
            for model in models:
                model.engine.retire()
            executor.close()
            raise
        if settings.shadow is not None and metrics is not None:
            models[0].shadow = Shadow(settings.shadow_share, metrics)
        recorder = open_recorder(settings, metrics)
        for model in models:
            model.recorder = recorder
        return cls(models, settings, executor)

    @property
    def admission(self) -> Admission:
        """The admission control, which all models share."""
        return self.executor.admission

    @property
    def models(self) -> list[RegisteredModel]:
        """The models, the default one first."""
        return list(self._models.values())

    @property
    def answering(self) -> list[AnsweringModel]:
        """The classifiers that answer now, the default model's first."""
        return [model.engine.model for model in self._models.values()]

    def model(self, name: str | None = None) -> RegisteredModel:
        """A model by name; the default one where there is none.

        Raises:
            UnknownModel: no model has the name.
        """
        if name is None:
            return self._default
        try:
            return self._models[name]
        except KeyError:
            raise UnknownModel(
                f"no model is named {name[:80]!r} here", expected=" or ".join(self._models)
            ) from None

    async def reload(self, name: str, folder: Path | None = None) -> bool:
        """Reload a model in this process; see `RegisteredModel.reload`."""
        return await self.model(name).reload(self._settings, self.executor, folder)

    def close(self) -> None:
        """Finish the images in work, cancel those that wait, and free the models."""
        self.executor.close()
        if self._default.recorder is not None:
            self._default.recorder.close()
        for model in self._models.values():
            if model.shadow is not None:
                model.shadow.close()
            model.engine.retire()


def standing(folder: Path) -> Path:
    """Where a link to a bundle leads now; it may lead elsewhere before all of its files are read.

    One of the cache is kept there for as long as this process uses it.
    """
    folder = folder.resolve() if folder.is_symlink() else folder
    if cache.is_cached(folder):
        cache.hold(folder)
    return folder


def _same(answer: Answer) -> Answer:
    return answer


def _answer(model: AnsweringModel, row: InferenceResult) -> Answer | Embedding:
    """What `classify` or `embed` would have answered for the same image."""
    if isinstance(model, Classifier):
        return model.answer(model.predictions(row.logits, None), row.timing_ms)
    return model.answer(row.logits, row.timing_ms)


def _check_threshold(settings: ServerSettings, models: Sequence[RegisteredModel]) -> None:
    if settings.threshold is None or any(model.engine.model.outputs.several_labels for model in models):
        return
    raise UsageError(
        "the setting threshold applies to models of which several labels may be true, and none of these is "
        "one",
        hint="leave it out; if several labels may be true, export with --scores sigmoid",
    )


def bundles_by_name(folders: tuple[Path, ...]) -> dict[str, Path]:
    """The folders of bundles by the names of their models, in order.

    Raises:
        UsageError: two have the same name.
        BundleError: one is not a bundle.
    """
    named: dict[str, Path] = {}
    for folder in folders:
        name = Bundle.open(folder).name
        if name in named:
            raise UsageError(
                f"two bundles are named {name}: {named[name]} and {folder}",
                hint="serve one of them, or change the name in the manifest of the other",
            )
        named[name] = folder
    return named


def answering_sentences(settings: ServerSettings, registry: Registry) -> list[str]:
    """A sentence on what answers for each bundle, where the runtime was neither named nor tuned."""
    if settings.runtime is not None:
        return []
    return [
        f"{model.bundle.name} answers with {model.variant.name} in {model.runtime.name}"
        for model in registry.answering
    ]


def preflight(settings: ServerSettings, layout: Layout) -> list[str]:
    """Open the models and close them again, so that an error is reported once, before any worker starts.

    Returns:
        As `answering_sentences`, and what is recorded.

    Raises:
        PinnaceError: as `Registry.open`.
    """
    check_record(settings)
    registry = Registry.open(settings, layout)
    try:
        return [*answering_sentences(settings, registry), *record_sentences(settings)]
    finally:
        registry.close()
