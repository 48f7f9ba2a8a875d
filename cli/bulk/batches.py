"""Images through a GPU: decoded in threads, run in batches, answered in order."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pinnace.models.answer import Answer, Embedding, Timing
from pinnace.models.bundle.signature import BATCH as ANY_BATCH
from pinnace.models.classifier import Classifier
from pinnace.models.concurrency import map_in_order
from pinnace.models.embedder import Embedder
from pinnace.models.errors import PinnaceError
from pinnace.models.image.decode import ImageSource, open_image

# So many images run at once, as far as the model takes them.
_MOST = 32

Prepared = tuple[npt.NDArray[np.generic], Timing]


def answer_in_batches(
    model: Classifier | Embedder,
    images: Iterable[str],
    threads: int,
    *,
    top_k: int | None = None,
    read: Callable[[str], ImageSource] = str,
) -> Generator[tuple[str, Answer | Embedding | PinnaceError], None, None]:
    """Answer for each image, in order; while a batch runs, the next images are decoded.

    Memory holds the inputs of three batches, however many images there are.

    Args:
        model: on a GPU.
        images: paths.
        threads: that decode.
        top_k: how many classes.
        read: what is opened for a path.
    """
    batch = _batch_of(model)

    def prepare(image: str) -> Prepared:
        started = time.perf_counter()
        decoded = open_image(read(image))
        between = time.perf_counter()
        prepared = model.prepare(decoded)[0]
        times = 1000 * (between - started), 1000 * (time.perf_counter() - between)
        return prepared, Timing(*times, queue=0.0, infer=0.0, total=sum(times))

    with closing(map_in_order(prepare, images, threads, ahead=2 * batch + threads)) as prepared:
        while chunk := list(itertools.islice(prepared, batch)):
            inputs = [outcome for _, outcome in chunk if not isinstance(outcome, PinnaceError)]
            answers = iter(_run(model, inputs, top_k))
            for image, outcome in chunk:
                yield image, outcome if isinstance(outcome, PinnaceError) else next(answers)


def _batch_of(model: Classifier | Embedder) -> int:
    """How many images a call has: as many as a fixed batch or an engine takes, and 32 at most."""
    takes, engine = model.bundle.manifest.signature.batch, model.variant.engine
    if takes != ANY_BATCH:
        return takes if isinstance(takes, int) else 1
    return _MOST if engine is None else min(_MOST, engine.batch[1])


def _run(model: Classifier | Embedder, inputs: list[Prepared], top_k: int | None) -> list[Any]:
    if not inputs:
        return []
    started = time.perf_counter()
    rows = model.infer(np.stack([array for array, _ in inputs]))
    infer = 1000 * (time.perf_counter() - started)
    times = [replace(timing, infer=infer, total=timing.total + infer) for _, timing in inputs]
    if isinstance(model, Embedder):
        return [model.answer(row, timing) for row, timing in zip(rows, times, strict=True)]
    return [
        model.answer(model.predictions(row, top_k), timing) for row, timing in zip(rows, times, strict=True)
    ]
