"""A row for each answer, or for a share of them, handed to a thread that writes them.

No answer waits for it. What comes while too much waits is dropped and counted. A disk or store that is full
or dead stops the record for a while, which the metrics show and one line of the log says; answers go on.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pinnace.models.answer import Answer, Embedding
from pinnace.models.records.image_facts import ImageFacts
from pinnace.models.records.rows import MOST_PREDICTIONS, RecordRow
from pinnace.serving.observability.metrics import Metrics
from pinnace.serving.observability.request_log import current_request_id
from pinnace.serving.recording.part_writer import PartWriter
from pinnace.serving.sampling import Share

# What waits in each worker at most, images that are not written yet among it.
QUEUE_ROWS = 20_000
QUEUE_BYTES = 64_000_000

# The thread looks so often for rows: to be woken for each would cost more than all else here.
_TICK_SECONDS = 0.5
_WAKE_BYTES = 8_000_000
_AT_ONCE = 128

# So long nothing is tried after a write that failed.
PAUSE_SECONDS = 30.0

_END_SECONDS = 5.0

logger = logging.getLogger("pinnace.serving")


@dataclass
class Seen:
    """An image that is to be recorded; whoever decodes it fills in the facts.

    Attributes:
        request_id: of its request.
        facts: what the image is like; None until it is decoded, and for a tensor.
    """

    request_id: str = field(default_factory=current_request_id)
    facts: ImageFacts | None = None


@dataclass(frozen=True)
class _WaitingRow:
    time: float
    seen: Seen
    image: bytes | str
    answer: Callable[[], Answer | Embedding]


class Recorder:
    """Records what one worker answers."""

    def __init__(
        self, writer: PartWriter, share: float, *, images: bool, metrics: Metrics | None = None
    ) -> None:
        """Start the thread that writes.

        Args:
            writer: of this recorder alone.
            share: of the images, more than 0, 1 at most.
            images: whether their bytes are kept too.
            metrics: where rows are counted, if they are.
        """
        self._writer = writer
        self._share = Share(share)
        self._images = images
        self._metrics = metrics
        self._waiting: deque[_WaitingRow] = deque()
        self._bytes = 0  # of the images that wait; those that the writer holds are its own
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._paused_until = 0.0
        self._failing = False
        self._behind = False
        self._thread = threading.Thread(target=self._run, name="pinnace-record", daemon=True)
        self._thread.start()

    def begin(self) -> Seen | None:
        """What the facts of the next image are to be written to; None where it is not recorded."""
        return Seen() if self._share.takes_next() else None

    def offer(self, seen: Seen, image: bytes | str, answer: Callable[[], Answer | Embedding]) -> None:
        """Have an answer recorded, if there is room; returns at once.

        Args:
            seen: what `begin` gave.
            image: encoded, or base64 text.
            answer: gives what was answered; called on another thread.
        """
        if seen.facts is None:
            return
        with self._lock:
            paused = time.monotonic() < self._paused_until
            size = self._bytes + self._writer.image_bytes + len(image)
            full = len(self._waiting) >= QUEUE_ROWS or size > QUEUE_BYTES
            if not (paused or full or self._closed):
                self._waiting.append(_WaitingRow(time.time(), seen, image, answer))
                self._bytes += len(image)
                if self._bytes > _WAKE_BYTES:
                    self._wake.set()
                return
        self._count("failed" if paused else "dropped", 1)
        if full and not paused and not self._behind:
            self._behind = True
            logger.warning("the record does not keep up, so rows of it are dropped; the metrics count them")

    def close(self) -> None:
        """Write what waits, for some seconds at most."""
        with self._lock:
            self._closed = True
        self._wake.set()
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        closed = False
        while not closed:
            self._wake.wait(_TICK_SECONDS)
            self._wake.clear()
            closed = self._closed
            try:
                while self._collect():
                    if self._writer.is_due:
                        self._write()
                if closed or self._writer.is_due:
                    self._write()
            except Exception as error:  # whatever pyarrow and the store raise
                self._stop_for_a_while(error)
            if self._metrics is not None:
                self._metrics.record_bytes(self._bytes + self._writer.image_bytes)

    def _collect(self) -> int:
        """Make rows of some that wait; how many."""
        with self._lock:
            taken = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
        rows, images = [], {}
        for one in taken:
            data = base64.b64decode(one.image) if isinstance(one.image, str) else one.image
            row = _row(one, hashlib.sha256(data).hexdigest())
            rows.append(row)
            if self._images:
                images[row.sha256] = data
        self._writer.add(rows, images)
        with self._lock:
            self._bytes -= sum(len(one.image) for one in taken)
        return len(taken)

    def _write(self) -> None:
        rows = self._writer.rows
        self._writer.write()
        self._count("written", rows)
        if self._failing:
            self._failing = False
            logger.warning("the record is written again")

    def _stop_for_a_while(self, error: Exception) -> None:
        """Drop what could not be written, and take no more for some time."""
        with self._lock:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            left, self._waiting = len(self._waiting), deque()
            self._bytes = 0
        left += self._writer.rows
        self._writer.drop()
        self._count("failed", left)
        if not self._failing:
            self._failing = True
            logger.error(
                "the record cannot be written, so answers go on without it; tried again every %g s: %s",
                PAUSE_SECONDS,
                _why(error),
            )

    def _count(self, outcome: str, rows: int) -> None:
        if self._metrics is not None and rows:
            self._metrics.recorded(outcome, rows)


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return (str(error) or type(error).__name__).splitlines()[0]


def _row(one: _WaitingRow, sha256: str) -> RecordRow:
    answer, facts = one.answer(), one.seen.facts
    assert facts is not None
    return RecordRow(
        one.time,
        one.seen.request_id,
        answer.model,
        answer.version,
        answer.variant,
        answer.runtime,
        sha256,
        facts,
        answer.predictions[:MOST_PREDICTIONS] if isinstance(answer, Answer) else (),
        answer.timing_ms,
    )
