"""One image in, named classes out: the path that every caller shares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pinnace.models.answer import Answer, Prediction, Timing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.outputs import Function
from pinnace.models.errors import UsageError
from pinnace.models.image.decode import ImageSource
from pinnace.models.image_model import ImageModel
from pinnace.models.predictions import check_top_k, ranked, scores_of
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.uses import require


class Classifier(ImageModel):
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
        self.labels = bundle.labels
        if not self.labels:
            raise UsageError(f"{bundle.name} has no labels, so it cannot classify", hint="export it again")
        outputs = bundle.outputs.with_threshold(threshold)
        super().__init__("classify", bundle, variant, runtime, options)
        self.outputs = outputs
        if self._values != 1:  # one value may stand for two labels
            self._values = len(self.labels)

    def scores(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """What `infer` gives, as scores: float64, shape (..., classes)."""
        return scores_of(values, self.outputs.function, self.outputs.classes)

    def predictions(
        self,
        values: npt.NDArray[np.float32],
        k: int | None,
        threshold: float | None = None,
        function: Function | None = None,
    ) -> tuple[Prediction, ...]:
        """The labels of one image with the highest scores; see `pinnace.models.predictions.ranked`.

        Args:
            values: one row of what `infer` gives.
            k: how many.
            threshold: instead of the one that the classifier was opened with.
            function: what makes scores of the values, instead of what the bundle says.
        """
        threshold = self.outputs.threshold if threshold is None else threshold
        function = self.outputs.function if function is None else function
        scores = scores_of(values, function, self.outputs.classes)
        return tuple(ranked(scores, self.labels, k, threshold))

    def classify(self, source: ImageSource, k: int | None = None) -> Answer:
        """Decode, preprocess, run and name.

        Args:
            source: encoded bytes, a path, a Pillow image, or a uint8 array (height, width, channels).
            k: how many classes; by default 5, or all where there are fewer; where several labels may be true,
                by default also every other that reaches the threshold.

        Raises:
            ImageError: the source cannot be read as an image.
            UsageError: k is out of range.
        """
        self.check_top_k(k)
        values, timing = self.values(source)
        return self.answer(self.predictions(values, k), timing)

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

    def check_threshold(self, threshold: float | None) -> None:
        """Refuse a threshold where exactly one class is true, or one that is not between 0 and 1.

        Raises:
            UsageError: it is refused.
        """
        self.outputs.with_threshold(threshold)

    def check_top_k(self, k: int | None) -> int:
        """How many classes to answer with; see `pinnace.models.predictions.check_top_k`."""
        return check_top_k(k, len(self.labels))
