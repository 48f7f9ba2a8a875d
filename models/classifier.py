"""One image in, named classes out: the path that every caller shares."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
from PIL import Image
from typing_extensions import Self

from pinnace.models.answer import Answer, Prediction, Timing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import BundleError, UsageError
from pinnace.models.image.decode import ImageSource, open_image
from pinnace.models.predictions import check_top_k, top_k
from pinnace.models.runtimes import open_bundle
from pinnace.models.runtimes.base import RuntimeOptions


class Classifier:
    """A bundle's variant in a runtime, ready to classify images. Open it in a `with` statement.

    `classify` may be called from several threads where the runtime allows it; `prepare` always may.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: str | None = None,
        runtime: str | None = None,
        options: RuntimeOptions | None = None,
    ) -> None:
        """Load a variant.

        Args:
            bundle: a bundle of an image classifier.
            variant: a variant's name; the first that runs here by default.
            runtime: a runtime's name; the preferred one that works here by default.
            options: threads and device.

        Raises:
            UsageError: the model is no image classifier, or there is no such variant or runtime.
            MissingDependency: no runtime here can run it.
            CheckFailed: the variant's file has changed.
        """
        self.bundle = bundle
        self.preprocess = bundle.preprocess
        self.labels = bundle.labels
        if not self.labels:
            raise UsageError(f"{bundle.name} has no labels, so it cannot classify")
        self.variant, self.runtime = open_bundle(bundle, variant, runtime, options)
        self._input = bundle.manifest.signature.inputs[0].name
        self._output = bundle.manifest.signature.outputs[0].name

    def prepare(self, image: Image.Image) -> npt.NDArray[np.generic]:
        """The model's input for one image, with a batch of 1; see `Preprocess.apply`."""
        return self.preprocess.apply(image)[np.newaxis]

    def infer(self, batch: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Logits, float32, shape (batch, classes).

        Raises:
            BundleError: the model does not answer with one row of logits per image and one logit per label.
        """
        logits = self.runtime.run({self._input: batch})[self._output]
        if logits.shape != (len(batch), len(self.labels)):
            raise BundleError(
                f"{self.bundle.name} does not answer with one logit per label",
                expected=str((len(batch), len(self.labels))),
                got=str(logits.shape),
            )
        return np.asarray(logits, dtype=np.float32)

    def warm_up(self, batch: int = 1, runs: int = 3) -> None:
        """Run the model on zeros, so that the first request is as fast as the others."""
        spec = self.bundle.manifest.signature.inputs[0]
        images = np.zeros((batch, *spec.with_batch(batch)[1:]), dtype=spec.dtype)
        for _ in range(runs):
            self.infer(images)

    def predictions(self, logits: npt.NDArray[np.float32], k: int) -> tuple[Prediction, ...]:
        """The k most probable classes of one image; `logits` has shape (classes,)."""
        return tuple(top_k(logits, self.labels, k))

    def classify(self, source: ImageSource, k: int | None = None) -> Answer:
        """Decode, preprocess, run and name.

        Args:
            source: encoded bytes, a path, a Pillow image, or a uint8 array (height, width, channels).
            k: how many classes; by default 5, or all where there are fewer.

        Raises:
            ImageError: the source is no image that can be read.
            UsageError: k is out of range.
        """
        k = self.check_top_k(k)
        started = time.perf_counter()
        image = open_image(source)
        decoded = time.perf_counter()
        batch = self.prepare(image)
        prepared = time.perf_counter()
        logits = self.infer(batch)[0]
        inferred = time.perf_counter()
        predictions = self.predictions(logits, k)
        timing = Timing(
            decode=1000 * (decoded - started),
            preprocess=1000 * (prepared - decoded),
            queue=0.0,
            infer=1000 * (inferred - prepared),
            total=1000 * (time.perf_counter() - started),
        )
        return self.answer(predictions, timing)

    def answer(self, predictions: tuple[Prediction, ...], timing: Timing) -> Answer:
        """An answer in the name of this model."""
        bundle = self.bundle
        return Answer(bundle.name, self.variant.name, self.runtime.name, predictions, timing, bundle.version)

    def check_top_k(self, k: int | None) -> int:
        """How many classes to answer with; see `pinnace.models.predictions.check_top_k`."""
        return check_top_k(k, len(self.labels))

    def close(self) -> None:
        """Free the runtime."""
        self.runtime.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
