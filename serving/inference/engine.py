"""One model in a server process: loaded, checked, warmed up, and run on the threads that all models share."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import io
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from pinnace.models.answer import Answer, Embedding, Timing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.outputs import Function
from pinnace.models.classifier import Classifier
from pinnace.models.embedder import Embedder
from pinnace.models.errors import PinnaceError, UsageError
from pinnace.models.image.decode import open_image
from pinnace.models.open_model import AnsweringModel
from pinnace.models.records.image_facts import facts_of
from pinnace.models.uses import require
from pinnace.serving.errors import LateAnswer, internal_error
from pinnace.serving.inference.another_variant import beside_it
from pinnace.serving.inference.batcher import Batcher, max_batch_size
from pinnace.serving.inference.calls import CallGroup, Steps, images_together, measured, run_alone
from pinnace.serving.inference.executor import Executor
from pinnace.serving.inference.inputs import Batch, Item, Upload, decode_base64
from pinnace.serving.inference.open_checked import open_checked
from pinnace.serving.inference.result import InferenceResult
from pinnace.serving.inference.tuned import untuned
from pinnace.serving.observability.metrics import ModelMetrics
from pinnace.serving.recording.recorder import Seen
from pinnace.serving.settings import ServerSettings

logger = logging.getLogger("pinnace.serving")

Timed = TypeVar("Timed")


class InferenceEngine:
    """Answers for images off the event loop, with one version of one model.

    Attributes:
        model: the model.
        note: a sentence for the log of the server, or None.
    """

    def __init__(self, model: AnsweringModel, settings: ServerSettings, executor: Executor) -> None:
        """Take over a model; `retire` closes it.

        Args:
            model: an open classifier, or embedder.
            settings: limits.
            executor: where images are worked on.
        """
        self.model = model
        self.note = untuned(settings, model.bundle)
        self._executor = executor
        self._settings = settings
        self._metrics: ModelMetrics | None = None
        if executor.metrics is not None:
            names = (model.bundle.name, model.variant.name, model.runtime.name)
            self._metrics = executor.metrics.for_model(*names)
        # Asked of the model each time.
        most = max_batch_size(model, settings)
        self._batcher = Batcher(lambda batch: self.model.infer(batch), most)
        self._together = self._batcher.most > 1 or not model.runtime.concurrent
        self._group: CallGroup | None = None
        if model.runtime.concurrent and model.runtime.device == "cpu":
            calls = executor.layout.calls
            together = None if most > 1 else lambda: images_together(executor.admission.seconds)
            self._group = CallGroup(lambda batch: self.model.infer(batch), most, together, calls)
        self._lock = threading.Lock()
        self._in_work = 0
        self._retired = False

    @classmethod
    def open(
        cls, settings: ServerSettings, folder: Path, executor: Executor, beside: str | None = None
    ) -> InferenceEngine:
        """Load a bundle, compare it with its golden data, and warm up.

        Args:
            settings: what is wanted of it, and limits.
            folder: where the bundle stands.
            executor: where images are worked on.
            beside: a variant that answers under a name of its own, whatever the settings say.

        Raises:
            PinnaceError: the bundle cannot be served here; see `open_model` and `self_check`.
        """
        bundle = Bundle.open(folder)
        if beside is not None:
            bundle, settings = beside_it(bundle, settings, beside)
        for file in bundle.manifest.files:  # the variant's own is checked when it is opened
            bundle.check_file(file)
        model = open_checked(bundle, settings, executor.layout)
        try:
            engine = cls(model, settings, executor)
            engine.warm_up()
        except BaseException:
            model.close()
            raise
        return engine

    @property
    def classifier(self) -> Classifier:
        """The model, if it classifies.

        Raises:
            UsageError: it does not; the hint says what it does.
        """
        if not isinstance(self.model, Classifier):
            require("classify", self.model.bundle)
        assert isinstance(self.model, Classifier)
        return self.model

    @property
    def embedder(self) -> Embedder:
        """The model, if it embeds.

        Raises:
            UsageError: it does not; the hint says what it does.
        """
        if not isinstance(self.model, Embedder):
            require("embed", self.model.bundle)
        assert isinstance(self.model, Embedder)
        return self.model

    def warm_up(self) -> None:
        """Run the model, then a whole request: the first image would wait for Pillow to load its decoders."""
        for batch in self._batcher.sizes():
            self.model.warm_up(batch)
        for format in ("JPEG", "PNG"):
            buffer = io.BytesIO()
            Image.new("RGB", (64, 64)).save(buffer, format)
            self._alone(functools.partial(self._row, buffer.getvalue(), time.perf_counter()))

    def check_top_k(self, k: int | None) -> int:
        """How many classes to answer with.

        Raises:
            UsageError: the model does not classify, or `k` is not from 1 to the number of classes, or to the
                limit of the settings.
        """
        limit = self._settings.max_top_k
        if k is not None and limit is not None and k > limit:
            raise UsageError(f"top_k is {k}", expected=f"at most {limit}", got=str(k))
        k = self.classifier.check_top_k(k)
        return k if limit is None else min(k, limit)

    @property
    def parameters(self) -> tuple[str, ...]:
        """What may be asked of the model besides an image."""
        if not self.model.outputs.is_classifier:
            return ()
        return ("top_k", "threshold") if self.model.outputs.several_labels else ("top_k",)

    def check_threshold(self, threshold: float | None) -> None:
        """Refuse a threshold that does not apply; see `Classifier.check_threshold`.

        Raises:
            UsageError: the model does not classify, exactly one class is true, or it is not between 0 and 1.
        """
        self.classifier.check_threshold(threshold)

    async def classify(self, upload: Upload, seen: Seen | None = None) -> Answer:
        """Decode, preprocess, run and name, in one hop to a thread.

        An image that is cancelled before its turn is dropped, and so is one that would be late. `seen` gets
        the facts of the image, for the record.

        Raises:
            UsageError: the model does not classify, or `top_k` or the threshold is out of range.
            Overloaded: too many images wait.
            LateAnswer: its turn came too late.
            ImageError: the upload is not an image that can be read.
        """
        work = self._answer(upload.top_k, upload.threshold, upload.function)
        self._executor.admission.enter()
        return await asyncio.wrap_future(self._submit(work, upload.image, seen))

    async def embed(self, image: bytes | str, seen: Seen | None = None) -> Embedding:
        """Decode, preprocess and run, in one hop to a thread; `seen` as for `classify`.

        Raises:
            UsageError: the model does not embed.
            Others: as `classify`.
        """
        embedder = self.embedder

        def work(item: Item, submitted: float, seen: Seen | None) -> Steps[Embedding]:
            row = yield from self._row(item, submitted, seen)
            return embedder.answer(row.logits, row.timing_ms)

        self._executor.admission.enter()
        return await asyncio.wrap_future(self._submit(work, image, seen))

    async def classify_batch(
        self, batch: Batch, seen: Sequence[Seen | None] = ()
    ) -> list[Answer | PinnaceError]:
        """Classify images, each for itself; what is an error already stays one. `seen`: one each, or none.

        Returns:
            For each image, in order, its answer or what was wrong with it.

        Raises:
            UsageError: the model does not classify, or `top_k` or the threshold is out of range.
            Overloaded: there is no room for all of them.
        """
        work = self._answer(batch.top_k, batch.threshold)
        self._executor.admission.enter(sum(isinstance(image, bytes) for image in batch.images))
        items = [
            image if isinstance(image, PinnaceError) else asyncio.wrap_future(self._submit(work, image, one))
            for image, one in zip_longest(batch.images, seen)
        ]
        futures = [item for item in items if not isinstance(item, PinnaceError)]
        try:
            if futures:
                await asyncio.wait(futures, timeout=self._settings.timeout)
        finally:
            for future in futures:
                future.cancel()
        return [item if isinstance(item, PinnaceError) else self._outcome(item) for item in items]

    async def infer(self, items: Sequence[Item], seen: Sequence[Seen | None] = ()) -> list[InferenceResult]:
        """Run the model on images or tensors, shared out over the threads. `seen`: one for each, or none.

        Raises:
            Overloaded: there is no room for all of them.
            LateAnswer: the turn of one came too late.
            ImageError: one is not an image that can be read.
        """
        self._executor.admission.enter(len(items))
        futures = [
            asyncio.wrap_future(self._submit(self._row, item, one)) for item, one in zip_longest(items, seen)
        ]
        try:
            await asyncio.wait(futures, timeout=self._settings.timeout, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            late = [future for future in futures if future.cancel()]
        # What could not be cancelled is done, or in work; asyncio would log an exception that nobody reads.
        failed = [error for future in futures if future not in late and (error := future.exception())]
        if failed:
            raise failed[0]
        if late:
            raise self._late()
        return [future.result() for future in futures]

    def begin(self, work: Callable[[], Timed]) -> Future[Timed]:
        """Do other work with the model on a thread. It counts as an image that waits or is in work, but not
        in the metrics of images, nor in the average time of one.

        Raises:
            Overloaded: too many images wait.
        """
        self._executor.admission.enter()
        with self._lock:
            self._in_work += 1
        future = self._executor.submit(work)
        future.add_done_callback(self._left)
        return future

    def rows(self, inputs: Sequence[npt.NDArray[np.generic]]) -> list[npt.NDArray[np.float32]]:
        """The model's output for each of these, shape (1, ...) to (values,); in batches of `max_batch`.

        Call it on a thread of the executor.
        """
        if not self._together:
            return [self.model.infer(each)[0] for each in inputs]
        most = self._batcher.most
        parts = [inputs[start : start + most] for start in range(0, len(inputs), most)]
        return [row for part in parts for row in self._batcher.rows(part)]

    def _outcome(self, future: asyncio.Future[Answer]) -> Answer | PinnaceError:
        if future.cancelled():
            return self._late()
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, PinnaceError):
            return error
        logger.error("an image of a batch failed", exc_info=error)
        return internal_error()

    def _late(self) -> LateAnswer:
        return LateAnswer(
            f"the answer was not ready within {self._settings.timeout:g} s",
            hint="try again when the server is less busy",
        )

    def _submit(
        self, work: Callable[[Item, float, Seen | None], Steps[Timed]], item: Item, seen: Seen | None
    ) -> Future[Timed]:
        with self._lock:
            self._in_work += 1
        steps = functools.partial(self._in_time, work, item, time.perf_counter(), seen)
        if self._group is not None:
            future = self._executor.submit_grouped(steps, self._group)
        else:
            future = self._executor.submit(self._alone, steps)
        future.add_done_callback(self._done)
        return future

    def _alone(self, steps: Callable[[], Steps[Timed]]) -> Timed:
        return run_alone(
            steps(), self._batcher if self._together else lambda image: self.model.infer(image)[0]
        )

    def _in_time(
        self,
        work: Callable[[Item, float, Seen | None], Steps[Timed]],
        item: Item,
        submitted: float,
        seen: Seen | None,
    ) -> Steps[Timed]:
        started = time.perf_counter()
        timeout = self._settings.timeout
        # At most half of the time: an average that a few huge images have spoilt must be able to mend.
        if started - submitted > timeout - min(self._executor.admission.seconds, timeout / 2):
            raise self._late()
        record = self._executor.admission.record_duration
        return (yield from measured(work(item, submitted, seen), record))

    def _answer(
        self, k: int | None, threshold: float | None = None, function: Function | None = None
    ) -> Callable[[Item, float, Seen | None], Steps[Answer]]:
        classifier = self.classifier
        self.check_top_k(k)
        classifier.check_threshold(threshold)
        limit = self._settings.max_top_k

        def work(item: Item, submitted: float, seen: Seen | None) -> Steps[Answer]:
            row = yield from self._row(item, submitted, seen)
            predictions = classifier.predictions(row.logits, k, threshold, function)[:limit]
            total = 1000 * (time.perf_counter() - submitted)
            timing = dataclasses.replace(row.timing_ms, total=total)
            return classifier.answer(predictions, timing, threshold)

        return work

    def _row(self, item: Item, submitted: float, seen: Seen | None = None) -> Steps[InferenceResult]:
        started = decoded = prepared = time.perf_counter()
        if isinstance(item, np.ndarray):
            batch = item
        else:
            data = decode_base64(item) if isinstance(item, str) else item
            with self._executor.admission.decoding() as reserve:
                whole = not self.model.preprocess.takes_window
                image = open_image(data, max_pixels=self._settings.max_pixels, reserve=reserve, whole=whole)
                decoded = time.perf_counter()
                batch = self.model.prepare(image)
                if seen is not None:
                    seen.facts = facts_of(image, len(data), batch, self.model.preprocess)
                del image
            prepared = time.perf_counter()
        outcome = yield batch
        inferred = time.perf_counter()
        timing = Timing(
            decode=1000 * (decoded - started),
            preprocess=1000 * (prepared - decoded),
            queue=1000 * (started - submitted + outcome.waited),
            infer=1000 * (inferred - prepared - outcome.waited),
            total=1000 * (inferred - submitted),
        )
        return InferenceResult(outcome.row, timing)

    def _done(self, future: Future[Any]) -> None:
        if self._metrics is not None:
            self._metrics.record(future)
        self._left(future)

    def _left(self, _: Future[Any]) -> None:
        with self._lock:
            self._in_work -= 1
            last = self._retired and not self._in_work
        if last:
            self.model.close()

    def retire(self) -> None:
        """Free the model, once the images that it has are done; it gets no more of them."""
        with self._lock:
            self._retired = True
            idle = not self._in_work
        if idle:
            self.model.close()
