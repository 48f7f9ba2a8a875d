"""Why a class: how much its score drops while a patch of the image is covered (Zeiler and Fergus, 2014).

The patches are the fields of a grid over what the model sees, and each is covered in turn by the mean
colour of the image. So one explanation runs the model once more than the grid has fields. It is made on one
thread of the executor, one at a time in each process, and ends when its time is up or its client is gone.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pinnace.models.answer import Timing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.errors import PinnaceError, UsageError
from pinnace.models.image.preprocess import Layout
from pinnace.serving.errors import LateAnswer, NotEnabled, Overloaded
from pinnace.serving.inference.engine import InferenceEngine
from pinnace.serving.inference.executor import Executor
from pinnace.serving.inference.inputs import decoded
from pinnace.serving.settings import ServerSettings

DEFAULT_GRID = 8
MOST_GRID = 16

# So many inputs are made at once; between two such groups it is seen whether the answer is still wanted.
_TOGETHER = 16


@dataclass(frozen=True)
class Explanation:
    """Which parts of an image the score of a class depends on.

    Attributes:
        classifier: what was asked.
        index: of the class.
        probability: its score with nothing covered.
        drops: float64, shape (rows, columns): by how much the score is smaller with a field covered.
        part: where the grid lies: left, top, width and height as shares of the image.
        timing_ms: where the time went; `infer` is that of all runs.
    """

    classifier: Classifier
    index: int
    probability: float
    drops: npt.NDArray[np.float64]
    part: tuple[float, float, float, float]
    timing_ms: Timing

    @property
    def bundle(self) -> Bundle:
        """The bundle that answered."""
        return self.classifier.bundle


class Explainer:
    """Explains images for the models of one process, one image at a time."""

    def __init__(self, settings: ServerSettings, executor: Executor) -> None:
        """Refuse to, where the settings do not have `explain`; work on the threads of the executor."""
        self._enabled = settings.explain
        self._timeout = settings.timeout
        self._max_pixels = settings.max_pixels
        self._executor = executor
        self._one = threading.Lock()

    def check_enabled(self) -> None:
        """Refuse a request before its body is read.

        Raises:
            NotEnabled: the settings do not have `explain`.
        """
        if not self._enabled:
            raise NotEnabled(
                "this server does not explain its answers: each explanation costs as much as many images",
                hint="start it with --explain, or PINNACE_EXPLAIN=true",
            )

    async def explain(
        self, engine: InferenceEngine, image: bytes | str, index: int | None, grid: int
    ) -> Explanation:
        """Explain the score of a class.

        Args:
            engine: what answers.
            image: an encoded image, or its base64 text.
            index: the number of the class; None for the one with the highest score.
            grid: fields along each side, at most as many as the model's input has pixels.

        Raises:
            UsageError: the model does not classify, or has no such class.
            Overloaded: another image is being explained, or too many images wait.
            LateAnswer: it takes longer than the timeout.
            ImageError: the image cannot be read.
        """
        classifier = engine.classifier
        if index is not None and not index < len(classifier.labels):
            most = len(classifier.labels) - 1
            raise UsageError(f"there is no class {index}", expected=f"0 to {most}", got=str(index))
        stop = threading.Event()
        submitted = time.perf_counter()
        outcome = "cancelled"
        try:
            if not self._one.acquire(blocking=False):
                raise Overloaded("another image is being explained")
            try:
                future = engine.begin(
                    lambda: self._work(engine, classifier, image, index, grid, submitted, stop)
                )
            except BaseException:
                self._one.release()
                raise
            future.add_done_callback(lambda _: self._one.release())
            made = await asyncio.wrap_future(future)
            outcome = "ok"
            return made
        except PinnaceError as error:
            outcome = error.code
            raise
        finally:
            stop.set()
            if self._executor.metrics is not None:
                names = (classifier.bundle.name, classifier.variant.name, classifier.runtime.name)
                self._executor.metrics.explained(*names, outcome)

    def _work(
        self,
        engine: InferenceEngine,
        classifier: Classifier,
        image: bytes | str,
        index: int | None,
        grid: int,
        submitted: float,
        stop: threading.Event,
    ) -> Explanation:
        started = time.perf_counter()
        with decoded(image, self._executor.admission, self._max_pixels) as picture:
            opened = time.perf_counter()
            batch = classifier.prepare(picture)
            part = classifier.preprocess.seen_part(picture)
            del picture
        prepared = time.perf_counter()
        scores = classifier.scores(engine.rows([batch])[0])
        index = int(np.argmax(scores)) if index is None else index
        layout = classifier.preprocess.layout
        fields = fields_of(batch, layout, grid)
        covered: list[float] = []
        cells = [field for row in fields for field in row]
        for start in range(0, len(cells), _TOGETHER):
            if stop.is_set() or time.perf_counter() - submitted > self._timeout:
                raise LateAnswer(
                    f"the explanation was not ready within {self._timeout:g} s", hint="ask for a smaller grid"
                )
            rows = engine.rows(list(cover(batch, layout, cells[start : start + _TOGETHER])))
            covered += [float(classifier.scores(row)[index]) for row in rows]
        inferred = time.perf_counter()
        drops = float(scores[index]) - np.array(covered).reshape(len(fields), len(fields[0]))
        timing = Timing(
            decode=1000 * (opened - started),
            preprocess=1000 * (prepared - opened),
            queue=1000 * (started - submitted),
            infer=1000 * (inferred - prepared),
            total=1000 * (inferred - submitted),
        )
        return Explanation(classifier, index, float(scores[index]), drops, part, timing)


Field = tuple[slice, slice]


def fields_of(batch: npt.NDArray[np.generic], layout: Layout, grid: int) -> list[list[Field]]:
    """The fields of a grid over an input of shape (1, ...): rows of (rows of pixels, columns of pixels)."""
    height, width = batch.shape[1:3] if layout == "NHWC" else batch.shape[2:4]
    tops, lefts = (np.linspace(0, edge, min(grid, edge) + 1).round().astype(int) for edge in (height, width))
    rows, columns = (
        [slice(int(begin), int(end)) for begin, end in itertools.pairwise(edges)] for edges in (tops, lefts)
    )
    return [[(row, column) for column in columns] for row in rows]


def cover(
    batch: npt.NDArray[np.generic], layout: Layout, fields: Sequence[Field]
) -> Iterator[npt.NDArray[np.generic]]:
    """Copies of an input of shape (1, ...), in each of which a field has the mean colour of the input."""
    axes = (1, 2) if layout == "NHWC" else (2, 3)
    mean = batch.astype(np.float64).mean(axis=axes, keepdims=True)
    if np.issubdtype(batch.dtype, np.integer):
        mean = np.rint(mean)
    for rows, columns in fields:
        copy = batch.copy()
        if layout == "NHWC":
            copy[:, rows, columns] = mean
        else:
            copy[:, :, rows, columns] = mean
        yield copy
