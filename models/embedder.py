"""One image in, a vector out: a network without a head."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pinnace.models.answer import Embedding, Timing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.image.decode import ImageSource
from pinnace.models.image_model import ImageModel
from pinnace.models.runtimes.base import RuntimeOptions


class Embedder(ImageModel):
    """A bundle's variant in a runtime, ready to embed images. Open it in a `with` statement."""

    def __init__(
        self,
        bundle: Bundle,
        variant: str | None = None,
        runtime: str | None = None,
        options: RuntimeOptions | None = None,
    ) -> None:
        """Load a variant; see `ImageModel`.

        Raises:
            UsageError: the model answers with something else than an embedding, or there is no such variant
                or runtime.
        """
        super().__init__("embed", bundle, variant, runtime, options)

    def embed(self, source: ImageSource) -> Embedding:
        """Decode, preprocess and run.

        Args:
            source: encoded bytes, a path, a Pillow image, or a uint8 array (height, width, channels).

        Raises:
            ImageError: the source cannot be read as an image.
        """
        values, timing = self.values(source)
        return self.answer(values, timing)

    def answer(self, values: npt.NDArray[np.float32], timing: Timing) -> Embedding:
        """An answer in the name of this model; `values` is one row of what `infer` gives."""
        return Embedding(
            self.bundle.name,
            self.variant.name,
            self.runtime.name,
            tuple(map(float, values)),
            bool(self.outputs.normalised),
            timing,
            self.bundle.version,
        )
