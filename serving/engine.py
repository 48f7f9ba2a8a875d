"""One model in a server process: loaded, checked, warmed up, and run on the threads that all models share."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import io
import logging
import threading
import time
from concurrent.futures import Future
from pathlib import Path

from PIL import Image

from pinnace.models.answer import Answer, Timing
from pinnace.models.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.errors import ImageError, PinnaceError, UsageError
from pinnace.models.images import open_image
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.serving.body import Batch, Upload
from pinnace.serving.errors import LateAnswer, unforeseen
from pinnace.serving.layout import plan
from pinnace.serving.metrics import ModelMetrics
from pinnace.serving.selfcheck import self_check
from pinnace.serving.settings import Settings
from pinnace.serving.slots import Slots

logger = logging.getLogger("pinnace.serving")

_NOT_BLANK = str.maketrans("", "", " \t\r\n")


class Engine:
    """Classifies images off the event loop, with one version of one model."""

    def __init__(self, classifier: Classifier, settings: Settings, slots: Slots) -> None:
        """Take over a classifier; `retire` closes it.

        Args:
            classifier: an open classifier.
            settings: limits.
            slots: where images are worked on.
        """
        self.classifier = classifier
        self._slots = slots
        self._settings = settings
        self._metrics: ModelMetrics | None = None
        if slots.metrics is not None:
            names = (classifier.bundle.name, classifier.variant.name, classifier.runtime.name)
            self._metrics = slots.metrics.of(*names)
        self._turn: contextlib.AbstractContextManager[object] = (
            contextlib.nullcontext() if classifier.runtime.concurrent else threading.Lock()
        )
        self._lock = threading.Lock()
        self._in_work = 0
        self._retired = False

    @classmethod
    def open(cls, settings: Settings, folder: Path, slots: Slots) -> Engine:
        """Load a bundle, compare it with its golden data, and warm up.

        Raises:
            PinnaceError: the bundle cannot be served here; see `Classifier` and `self_check`.
        """
        layout = plan(settings)
        bundle = Bundle.open(folder)
        for file in bundle.manifest.files:  # the variant's own is checked when it is opened
            bundle.check_file(file)
        options = RuntimeOptions(layout.threads, settings.device, layout.concurrency)
        classifier = Classifier(bundle, settings.variant, settings.runtime, options)
        try:
            self_check(classifier)
            engine = cls(classifier, settings, slots)
            engine.warm_up()
        except BaseException:
            classifier.close()
            raise
        return engine

    def warm_up(self) -> None:
        """Run the model, then a whole request: the first image would wait for Pillow to load its decoders."""
        self.classifier.warm_up()
        for format in ("JPEG", "PNG"):
            buffer = io.BytesIO()
            Image.new("RGB", (64, 64)).save(buffer, format)
            self._classify(buffer.getvalue(), 1, time.perf_counter())

    def check_top_k(self, k: int | None) -> int:
        """How many classes to answer with.

        Raises:
            UsageError: `k` is not from 1 to the number of classes, or to the limit of the settings.
        """
        limit = self._settings.max_top_k
        if k is not None and limit is not None and k > limit:
            raise UsageError(f"top_k is {k}", expected=f"at most {limit}", got=str(k))
        k = self.classifier.check_top_k(k)
        return k if limit is None else min(k, limit)

    async def classify(self, upload: Upload) -> Answer:
        """Decode, preprocess, run and name, in one hop to a thread.

        An image that is cancelled before its turn is dropped, and so is one that would be late.

        Raises:
            UsageError: `top_k` is out of range.
            Overloaded: there is no room.
            LateAnswer: its turn came too late.
            ImageError: the upload is no image that can be read.
        """
        k = self.check_top_k(upload.top_k)
        self._slots.admission.enter()
        return await asyncio.wrap_future(self._submit(upload.image, k))

    async def classify_batch(self, batch: Batch) -> list[Answer | PinnaceError]:
        """Classify images, each for itself; what is an error already stays one.

        Returns:
            For each image, in order, its answer or what was wrong with it.

        Raises:
            UsageError: `top_k` is out of range.
            Overloaded: there is no room for all of them.
        """
        k = self.check_top_k(batch.top_k)
        self._slots.admission.enter(sum(isinstance(image, bytes) for image in batch.images))
        work = [
            image if isinstance(image, PinnaceError) else asyncio.wrap_future(self._submit(image, k))
            for image in batch.images
        ]
        futures = [item for item in work if not isinstance(item, PinnaceError)]
        try:
            if futures:
                await asyncio.wait(futures, timeout=self._settings.timeout)
        finally:
            for future in futures:
                future.cancel()
        return [item if isinstance(item, PinnaceError) else self._outcome(item) for item in work]

    def _outcome(self, future: asyncio.Future[Answer]) -> Answer | PinnaceError:
        if future.cancelled():
            return self._late()
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, PinnaceError):
            return error
        logger.error("an image of a batch failed", exc_info=error)
        return unforeseen()

    def _late(self) -> LateAnswer:
        return LateAnswer(
            f"the answer was not ready within {self._settings.timeout:g} s",
            hint="try again when the server is less busy",
        )

    def _submit(self, image: bytes | str, k: int) -> Future[Answer]:
        with self._lock:
            self._in_work += 1
        future = self._slots.submit(self._in_time, image, k, time.perf_counter())
        future.add_done_callback(self._done)
        return future

    def _in_time(self, data: bytes | str, k: int, submitted: float) -> Answer:
        started = time.perf_counter()
        timeout = self._settings.timeout
        # At most half of the time: an average that a few huge images have spoilt must be able to mend.
        if started - submitted > timeout - min(self._slots.admission.seconds, timeout / 2):
            raise self._late()
        try:
            return self._classify(data, k, submitted)
        finally:
            self._slots.admission.took(time.perf_counter() - started)

    def _classify(self, data: bytes | str, k: int, submitted: float) -> Answer:
        started = time.perf_counter()
        image = open_image(
            _decode_base64(data) if isinstance(data, str) else data, max_pixels=self._settings.max_pixels
        )
        decoded = time.perf_counter()
        batch = self.classifier.prepare(image)
        prepared = time.perf_counter()
        with self._turn:
            logits = self.classifier.infer(batch)[0]
        inferred = time.perf_counter()
        predictions = self.classifier.predictions(logits, k)
        timing = Timing(
            decode=1000 * (decoded - started),
            preprocess=1000 * (prepared - decoded),
            queue=1000 * (started - submitted),
            infer=1000 * (inferred - prepared),
            total=1000 * (time.perf_counter() - submitted),
        )
        return self.classifier.answer(predictions, timing)

    def _done(self, future: Future[Answer]) -> None:
        if self._metrics is not None:
            self._metrics.done(future)
        with self._lock:
            self._in_work -= 1
            last = self._retired and not self._in_work
        if last:
            self.classifier.close()

    def retire(self) -> None:
        """Free the model, once the images that it has are done; it gets no more of them."""
        with self._lock:
            self._retired = True
            idle = not self._in_work
        if idle:
            self.classifier.close()


def _decode_base64(text: str) -> bytes:
    try:
        # `base64 cat.jpg` wraps its lines; anything else that is not of the alphabet is a mistake.
        return base64.b64decode(text.translate(_NOT_BLANK), validate=True)
    except (binascii.Error, ValueError):
        raise ImageError(
            "the image is not base64", hint="send the base64 text alone, without a data: prefix"
        ) from None
