"""The model of one server process: loaded, checked, warmed up, and fed by a bounded number of threads."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from PIL import Image

from pinnace.models.answer import Answer, Timing
from pinnace.models.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.errors import ImageError
from pinnace.models.images import open_image
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.serving.body import Upload
from pinnace.serving.layout import plan
from pinnace.serving.selfcheck import self_check
from pinnace.serving.settings import Settings

_NOT_BLANK = str.maketrans("", "", " \t\r\n")


class Engine:
    """Classifies uploads off the event loop, `concurrency` of them at once; the others wait in order."""

    def __init__(self, classifier: Classifier, *, concurrency: int, max_pixels: int) -> None:
        """Take over a classifier; `close` closes it.

        Args:
            classifier: an open classifier.
            concurrency: images in work at once.
            max_pixels: the largest image.
        """
        self.classifier = classifier
        self._max_pixels = max_pixels
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="pinnace-infer")

    @classmethod
    def open(cls, settings: Settings) -> Engine:
        """Load the bundle, compare it with its golden data, and warm up.

        Raises:
            PinnaceError: the bundle cannot be served here; see `Classifier` and `self_check`.
        """
        layout = plan(settings)
        bundle = Bundle.open(settings.bundle)
        for file in bundle.manifest.files:  # the variant's own is checked when it is opened
            bundle.check_file(file)
        options = RuntimeOptions(layout.threads, settings.device, layout.concurrency)
        classifier = Classifier(bundle, settings.variant, settings.runtime, options)
        engine = cls(classifier, concurrency=layout.concurrency, max_pixels=settings.max_pixels)
        try:
            self_check(classifier)
            engine.warm_up()
        except BaseException:
            engine.close()
            raise
        return engine

    def warm_up(self) -> None:
        """Run the model, then a whole request: the first image would wait for Pillow to load its decoders."""
        self.classifier.warm_up()
        for format in ("JPEG", "PNG"):
            buffer = io.BytesIO()
            Image.new("RGB", (64, 64)).save(buffer, format)
            self._pool.submit(self._classify, buffer.getvalue(), 1, time.perf_counter()).result()

    async def classify(self, upload: Upload) -> Answer:
        """Decode, preprocess, run and name, in one hop to a thread.

        Raises:
            UsageError: `top_k` is out of range.
            ImageError: the upload is no image that can be read.
        """
        k = self.classifier.check_top_k(upload.top_k)
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, self._classify, upload.image, k, time.perf_counter()
        )

    def _classify(self, data: bytes | str, k: int, submitted: float) -> Answer:
        started = time.perf_counter()
        image = open_image(
            _decode_base64(data) if isinstance(data, str) else data, max_pixels=self._max_pixels
        )
        decoded = time.perf_counter()
        batch = self.classifier.prepare(image)
        prepared = time.perf_counter()
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
        return Answer(
            self.classifier.bundle.name,
            self.classifier.variant.name,
            self.classifier.runtime.name,
            predictions,
            timing,
        )

    def close(self) -> None:
        """Finish what is in work, drop what waits, free the model."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.classifier.close()


@cache
def preflight(settings: Settings) -> None:
    """Open the engine and close it again, so that what is wrong is said once, before any worker is started.

    Raises:
        PinnaceError: as `Engine.open`.
    """
    Engine.open(settings).close()


def _decode_base64(text: str) -> bytes:
    try:
        # `base64 cat.jpg` wraps its lines; anything else that is not of the alphabet is a mistake.
        return base64.b64decode(text.translate(_NOT_BLANK), validate=True)
    except (binascii.Error, ValueError):
        raise ImageError(
            "the image is not base64", hint="send the base64 text alone, without a data: prefix"
        ) from None
