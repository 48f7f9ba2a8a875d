"""Images that wait while the model is busy are given to it together, when its turn comes.

This is for a model on a GPU, whose images are prepared by several threads; on a CPU one thread prepares those
of a batch and runs it (`calls.py`).

Nothing waits for a batch to fill: a lone image goes at once, and under load a batch has what came while the
one before it was computed. Sizes are powers of two, so that a runtime that prepares itself for each shape has
seen them all.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pinnace.models.bundle.signature import BATCH
from pinnace.models.open_model import AnsweringModel
from pinnace.models.tracebacks import release_frames
from pinnace.serving.settings import ServerSettings

Array: TypeAlias = npt.NDArray[np.float32]
Input: TypeAlias = npt.NDArray[np.generic]

_MOST_ON_A_GPU = 16


def max_batch_size(model: AnsweringModel, settings: ServerSettings) -> int:
    """How many images a model may be given at once: as set, as far as its variant takes them."""
    most = settings.max_batch
    if most == "auto":
        most = 1 if model.runtime.device == "cpu" else _MOST_ON_A_GPU
    engine = model.variant.engine
    takes = model.bundle.manifest.signature.batch
    if takes != BATCH:
        # A fixed batch costs the same however few images are in it.
        return takes if isinstance(takes, int) else 1
    return most if engine is None else min(most, engine.batch[1])


class Batcher:
    """Runs a model for several threads, one batch at a time; each brings one image, and waits for its row.

    Attributes:
        most: the most images of one call.
    """

    def __init__(self, run: Callable[[Input], Array], most: int) -> None:
        """Set up an empty queue.

        Args:
            run: the model: its input, shape (batch, ...), to float32 of shape (batch, classes).
            most: the most images of one call.
        """
        self.most = most
        self._run = run
        self._changed = threading.Condition()
        self._busy = False
        self._waiting: deque[tuple[Input, Future[Array]]] = deque()

    def __call__(self, image: Input) -> Array:
        """The row of one image: the model's input, shape (1, ...), to float32 of shape (classes,).

        Raises:
            What the model raises for this image alone; an error of another image of the batch does not count.
        """
        return self.rows((image,))[0]

    def rows(self, images: Sequence[Input]) -> list[Array]:
        """The rows of several images, as many at once as there may be; others' images go between them.

        Raises:
            What the model raises for one of these images.
        """
        outcomes: list[Future[Array]] = [Future() for _ in images]
        with self._changed:
            self._waiting.extend(zip(images, outcomes, strict=True))
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._busy or all(one.done() for one in outcomes))
                if all(one.done() for one in outcomes):
                    return [one.result() for one in outcomes]
                self._busy = True
                size = batch_size(len(self._waiting), self.most)
                batch = [self._waiting.popleft() for _ in range(size)]
            try:
                self._answer(batch)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def sizes(self) -> list[int]:
        """Every size that a batch may have."""
        return [1 << power for power in range(self.most.bit_length())]

    def _answer(self, batch: list[tuple[Input, Future[Array]]]) -> None:
        rows = run_in_batches(self._run, [image for image, _ in batch], self.most)
        for (_, outcome), row in zip(batch, rows, strict=True):
            if isinstance(row, Exception):
                outcome.set_exception(row)
            else:
                outcome.set_result(row)
        del batch, rows  # an exception keeps this frame


def run_in_batches(run: Callable[[Input], Array], images: list[Input], most: int) -> list[Array | Exception]:
    """Run a model on images, as many at once as may be; where that fails, each alone.

    Args:
        run: the model: its input, shape (batch, ...), to float32 of shape (batch, classes).
        images: inputs of shape (1, ...).
        most: the most images of one call; sizes are powers of two.

    Returns:
        For each image its row, shape (classes,), or what the model raises for it alone.
    """
    rows: list[Array | Exception] = []
    while len(rows) < len(images):
        rows += _run(run, images[len(rows) :][: batch_size(len(images) - len(rows), most)])
    return rows


def batch_size(waiting: int, most: int) -> int:
    """How many of the images that wait make a batch: the largest power of two."""
    return 1 << (min(waiting, most).bit_length() - 1)


def _run(run: Callable[[Input], Array], images: list[Input]) -> list[Array | Exception]:
    try:
        return list(run(np.concatenate(images) if len(images) > 1 else images[0]))
    except Exception as error:
        if len(images) == 1:
            release_frames(error)
            del images
            return [error]
    return [row for image in images for row in _run(run, [image])]
