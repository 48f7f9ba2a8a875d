"""One image in, named classes out: the path that every caller shares."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
from PIL import Image
from typing_extensions import Self

from pinnace.models.answer import Answer, Prediction, Timing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.outputs import Outputs, rows, width
from pinnace.models.errors import BundleError, UsageError
from pinnace.models.image.decode import ImageSource, open_image
from pinnace.models.predictions import check_top_k, ranked, scores_of
from pinnace.models.runtimes import open_bundle
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.uses import output_spec, require


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
        threshold: float | None = None,
    ) -> None:
        """Load a variant.

        Args:
            bundle: a bundle of an image classifier.
            variant: a variant's name; the first that runs here by default.
            runtime: a runtime's name; the preferred one that works here by default.
            options: threads and device.
            threshold: from which score on a label counts as true, instead of the bundle's own threshold.

        Raises:
            UsageError: the model is not an image classifier, there is no such variant or runtime, or a
                threshold does not apply.
            MissingDependency: no runtime here can run it.
            CheckFailed: the variant's file has changed.
        """
        require("classify", bundle)
        self.bundle = bundle
        self.preprocess = bundle.preprocess
        self.labels = bundle.labels
        if not self.labels:
            raise UsageError(f"{bundle.name} has no labels, so it cannot classify", hint="export it again")
        self.outputs: Outputs = bundle.outputs.with_threshold(threshold)
        self.variant, self.runtime = open_bundle(bundle, variant, runtime, options)
        self._input = bundle.manifest.signature.inputs[0].name
        one = width(output_spec(bundle.manifest.signature, bundle.outputs)) == 1
        self._values = 1 if one else len(self.labels)  # one value may stand for two labels

    def prepare(self, image: Image.Image) -> npt.NDArray[np.generic]:
        """The model's input for one image, with a batch of 1; see `Preprocess.apply`."""
        return self.preprocess.apply(image)[np.newaxis]

    def infer(self, batch: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """The output that makes the answer, float32, shape (batch, values): logits, or what `outputs` says.

        Raises:
            BundleError: the model does not answer with one row per image and one value per label.
        """
        assert self.outputs.name is not None
        values = self.runtime.run({self._input: batch})[self.outputs.name]
        expected = (len(batch), self._values)
        if not values.shape or rows(values).shape != expected or len(values) != len(batch):
            raise BundleError(
                f"{self.bundle.name} does not answer with one value per label",
                expected=str(expected),
                got=str(values.shape),
            )
        return np.asarray(rows(values), dtype=np.float32)

    def warm_up(self, batch: int = 1, runs: int = 3) -> None:
        """Run the model on zeros, so that the first request is as fast as the others."""
        spec = self.bundle.manifest.signature.inputs[0]
        images = np.zeros((batch, *spec.with_batch(batch)[1:]), dtype=spec.dtype)
        for _ in range(runs):
            self.infer(images)

    def scores(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """What `infer` gives, as scores: float64, shape (..., classes)."""
        return scores_of(values, self.outputs.function, self.outputs.classes)

    def predictions(
        self, values: npt.NDArray[np.float32], k: int | None, threshold: float | None = None
    ) -> tuple[Prediction, ...]:
        """The labels of one image with the highest scores; see `pinnace.models.predictions.ranked`.

        Args:
            values: one row of what `infer` gives.
            k: how many.
            threshold: instead of the one that the classifier was opened with.
        """
        threshold = self.outputs.threshold if threshold is None else threshold
        return tuple(ranked(self.scores(values), self.labels, k, threshold))

    def classify(self, source: ImageSource, k: int | None = None) -> Answer:
        """Decode, preprocess, run and name.

        Args:
            source: encoded bytes, a path, a Pillow image, or a uint8 array (height, width, channels).
            k: how many classes; by default 5, or all where there are fewer; where several labels may be true,
                by default also every other that reaches the threshold.

        Raises:
            ImageError: the source is no image that can be read.
            UsageError: k is out of range.
        """
        self.check_top_k(k)
        started = time.perf_counter()
        image = open_image(source)
        decoded = time.perf_counter()
        batch = self.prepare(image)
        prepared = time.perf_counter()
        values = self.infer(batch)[0]
        inferred = time.perf_counter()
        predictions = self.predictions(values, k)
        timing = Timing(
            decode=1000 * (decoded - started),
            preprocess=1000 * (prepared - decoded),
            queue=0.0,
            infer=1000 * (inferred - prepared),
            total=1000 * (time.perf_counter() - started),
        )
        return self.answer(predictions, timing)

    def answer(
        self, predictions: tuple[Prediction, ...], timing: Timing, threshold: float | None = None
    ) -> Answer:
        """An answer in the name of this model; `threshold` as `predictions` was given it."""
        return Answer(
            self.bundle.name,
            self.variant.name,
            self.runtime.name,
            predictions,
            timing,
            self.bundle.version,
            self.outputs.threshold if threshold is None else threshold,
        )

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
