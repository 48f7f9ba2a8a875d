"""Records of answers that nobody gave: rows drawn at random."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pinnace.models import file_stores
from pinnace.models.answer import Prediction, Timing
from pinnace.models.records.image_facts import ImageFacts
from pinnace.models.records.observations import Observations
from pinnace.models.records.places import part_name
from pinnace.models.records.rows import RecordRow, encode_images, encode_rows

CLASSES = 1000
_SHARES = 1 / np.arange(1, CLASSES + 1)
LABELS = np.array([f"class {index:04d}" for index in range(CLASSES)])


def draw(count: int, seed: int, *, uniform: bool = False, shift: str = "") -> Observations:
    """Answers of a model of a thousand classes to photographs of a few kinds.

    Args:
        count: how many.
        seed: of the draw.
        uniform: all classes are as frequent; by default by Zipf's law.
        shift: what has changed: `classes`, `camera`, `light` or nothing.
    """
    random = np.random.default_rng(seed)
    shares = np.ones(CLASSES) if uniform else _SHARES
    classes = random.choice(CLASSES, count, p=shares / shares.sum())
    if shift == "classes":
        classes = classes // 2 if uniform else (classes + 3) % CLASSES
    sizes = [(4000, 3000), (4000, 2250)] if shift == "camera" else [(640, 480), (1280, 720)]
    chosen = np.array(sizes)[random.choice(2, count, p=[0.7, 0.3])].astype(np.float64)
    light = random.normal(115 + 25 * (shift == "light"), 30, count)
    return Observations(
        LABELS[classes],
        random.beta(4, 1.5, count),
        chosen[:, 0],
        chosen[:, 1],
        np.round(random.lognormal(11 + 0.5 * (shift == "camera"), 0.6, count)),
        np.clip(light, 0, 255),
    )


def row(
    number: int, label: str, probability: float, image: bytes = b"", model: str = "tiny", ago: float = 0.0
) -> RecordRow:
    """An answer to an image of 20 x 14 pixels, some seconds ago."""
    return RecordRow(
        time.time() - ago,
        f"request-{number}",
        model,
        "v1",
        "onnx-fp32",
        "onnxruntime",
        hashlib.sha256(image).hexdigest(),
        ImageFacts("PNG", 20, 14, len(image), 100.0),
        (Prediction(label, number, probability),),
        Timing(1, 1, 1, 1, 4),
    )


def write_rows(place: Path | str, rows: list[RecordRow], images: Mapping[str, bytes] | None = None) -> None:
    """Add a part to a record."""
    name = part_name(time.time(), "test")
    file_stores.write(str(place), f"rows/{name}", encode_rows([each.to_json() for each in rows]))
    if images is not None:
        file_stores.write(str(place), f"images/{name}", encode_images(images))


def write_record(place: Path | str, drawn: Observations, *, model: str = "m", ago: float = 0.0) -> None:
    """A record of such answers, all given some seconds ago."""
    rows = []
    for index, label in enumerate(drawn.labels):
        facts = ImageFacts(
            "JPEG",
            int(drawn.width[index]),
            int(drawn.height[index]),
            int(drawn.bytes[index]),
            float(drawn.brightness[index]),
        )
        first = Prediction(str(label), int(label[-4:]), float(drawn.confidence[index]))
        given = row(index, first.label, first.probability, model=model, ago=ago)
        rows.append(
            RecordRow(
                given.time,
                given.request_id,
                model,
                given.version,
                given.variant,
                given.runtime,
                f"{index:064x}",
                facts,
                (first,),
                given.timing_ms,
            )
        )
    write_rows(place, rows)
