"""What the peers share: the bundle's preprocessing in Pillow and NumPy, and its ONNX file in ONNX Runtime.

It imports nothing of Pinnace, whose package the peers' environments do not have. The bundle is named by the
environment variable `BUNDLE`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

BUNDLE = Path(os.environ["BUNDLE"])
MANIFEST: dict[str, Any] = json.loads((BUNDLE / "manifest.json").read_text())
LABELS = (BUNDLE / "labels.txt").read_text().splitlines()
PREPROCESS = MANIFEST["preprocess"]


class Pipeline:
    """An image in, the five most probable classes out."""

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        file = next(variant["file"] for variant in MANIFEST["variants"] if variant["name"] == "onnx-fp32")
        self._session = onnxruntime.InferenceSession(
            str(BUNDLE / file), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._mean = np.array(PREPROCESS["mean"], np.float32)
        self._std = np.array(PREPROCESS["std"], np.float32)

    def __call__(self, source: IO[bytes] | Image.Image) -> dict[str, Any]:
        """Classify an encoded image, or one that is decoded."""
        image = source if isinstance(source, Image.Image) else Image.open(source)
        image = image.convert("RGB")
        scale = PREPROCESS["resize"] / min(image.size)
        filter = Image.Resampling[PREPROCESS["interpolation"].upper()]
        image = image.resize((int(image.width * scale), int(image.height * scale)), filter)
        height, width = PREPROCESS["crop"]
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
        x = (np.asarray(image, np.float32) / 255 - self._mean) / self._std
        x = np.ascontiguousarray(x.transpose(2, 0, 1)[np.newaxis])
        logits = self._session.run(None, {self._input: x})[0][0]
        exponentials = np.exp(logits - logits.max())
        return answer(exponentials / exponentials.sum())


def answer(probabilities: Any) -> dict[str, Any]:
    """The five most probable classes, as JSON."""
    best = np.argsort(-np.asarray(probabilities))[:5]
    return {"predictions": [{"label": LABELS[i], "probability": float(probabilities[i])} for i in best]}
