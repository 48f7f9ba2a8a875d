"""BentoML's own `@bentoml.api`, and ONNX Runtime: one worker for each CPU."""

import os
from typing import Any

import bentoml
from PIL.Image import Image
from pipeline import Pipeline


@bentoml.service(workers=int(os.environ["CPUS"]))
class Classify:
    """A form's image in, its classes out."""

    def __init__(self) -> None:
        self.pipeline = Pipeline()

    @bentoml.api
    def classify(self, image: Image) -> dict[str, Any]:
        """Classify."""
        return self.pipeline(image)
