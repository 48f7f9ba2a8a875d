"""A model of one image that answers with one row of numbers: what a classifier and an embedder share."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
from PIL import Image
from typing_extensions import Self

from pinnace.models.answer import Timing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.outputs import Outputs, rows, width
from pinnace.models.errors import BundleError
from pinnace.models.image.decode import ImageSource, open_image
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.selection import open_bundle
from pinnace.models.uses import Use, output_spec, require


class ImageModel:
    """A bundle's variant in a runtime. Open it in a `with` statement.

    `prepare` may be called from several threads at once, and `infer` where the runtime allows it.
    """

    def __init__(
        self,
        use: Use,
        bundle: Bundle,
        variant: str | None = None,
        runtime: str | None = None,
        options: RuntimeOptions | None = None,
    ) -> None:
        """Load a variant.

        Args:
            use: what it has to be fit for.
            bundle: a bundle of a model that takes an image.
            variant: a variant's name; the first that runs here by default.
            runtime: a runtime's name; the preferred one that works here by default.
            options: threads and device.

        Raises:
            UsageError: the model is not fit for the use, or there is no such variant or runtime.
            MissingDependency: no runtime here can run it.
            CheckFailed: the variant's file has changed.
        """
        require(use, bundle)
        self.bundle = bundle
        self.preprocess = bundle.preprocess
        self.outputs: Outputs = bundle.outputs
        self.variant, self.runtime = open_bundle(bundle, variant, runtime, options)
        self._input = bundle.manifest.signature.inputs[0].name
        self._values = width(output_spec(bundle.manifest.signature, bundle.outputs))

    def prepare(self, image: Image.Image) -> npt.NDArray[np.generic]:
        """The model's input for one image, with a batch of 1; see `Preprocess.apply`."""
        return self.preprocess.apply(image)[np.newaxis]

    def infer(self, batch: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """The output that makes the answer, float32, shape (batch, values).

        Raises:
            BundleError: the model does not answer with one row per image and as many values as it should.
        """
        assert self.outputs.name is not None
        values = self.runtime.run({self._input: batch})[self.outputs.name]
        expected = (len(batch), self._values)
        if not values.shape or len(values) != len(batch) or rows(values).shape != expected:
            raise BundleError(
                f"{self.bundle.name} does not answer with one value per "
                + ("label" if self.outputs.is_classifier else "dimension"),
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

    def values(self, source: ImageSource) -> tuple[npt.NDArray[np.float32], Timing]:
        """Decode, preprocess and run: one image's row of what `infer` gives, and where the time went.

        Args:
            source: encoded bytes, a path, a Pillow image, or a uint8 array (height, width, channels).

        Raises:
            ImageError: the source cannot be read as an image.
        """
        started = time.perf_counter()
        image = open_image(source, whole=not self.preprocess.takes_window)
        decoded = time.perf_counter()
        batch = self.prepare(image)
        prepared = time.perf_counter()
        values = self.infer(batch)[0]
        inferred = time.perf_counter()
        timing = Timing(
            decode=1000 * (decoded - started),
            preprocess=1000 * (prepared - decoded),
            queue=0.0,
            infer=1000 * (inferred - prepared),
            total=1000 * (inferred - started),
        )
        return values, timing

    def close(self) -> None:
        """Free the runtime."""
        self.runtime.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
