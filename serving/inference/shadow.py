"""A second bundle that is asked about a share of the live images, after they are answered: the worker's side.

One process of the server has that bundle (`shadow_process`), at the lowest priority there is. Each worker
sends it an image at a time, waits for the comparison in a thread, and counts it. What comes while some images
wait already is dropped and counted as such: no answer ever waits for a comparison.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection
from typing import Any

import numpy as np

from pinnace.models.answer import Answer, Embedding
from pinnace.serving.observability.metrics import Metrics
from pinnace.serving.sampling import Share

SOCKET_VARIABLE = "PINNACE_SHADOW_SOCKET"

# What waits in each worker at most; an image that alone has more bytes is dropped.
QUEUE_IMAGES = 16
QUEUE_BYTES = 32_000_000

# By then the answer has been handed to the kernel.
_AFTER_SECONDS = 0.05

logger = logging.getLogger("pinnace.serving")


@dataclass(frozen=True)
class _Waiting:
    image: bytes | str
    answer: Answer | Embedding


class Shadow:
    """Has a share of the images of this worker compared; `offer` and `close` belong to the event loop."""

    def __init__(
        self, share: float, metrics: Metrics | None, connect: Callable[[], Any] | None = None
    ) -> None:
        """Start the thread that sends.

        Args:
            share: of the images, more than 0, 1 at most.
            metrics: where comparisons are counted, if they are.
            connect: gives the connection to the shadow's process; by default by `$PINNACE_SHADOW_SOCKET`.
        """
        self._share = Share(share)
        self._metrics = metrics
        self._connect = connect or _connect
        self._images = 0  # that wait, for their answer to be out or for the thread
        self._bytes = 0  # of these and of the one that is compared
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._version = ""
        self._thread = threading.Thread(target=self._run, name="pinnace-shadow", daemon=True)
        self._thread.start()

    def offer(self, image: bytes | str, answer: Callable[[], Answer | Embedding]) -> None:
        """Have an image compared with its answer, if it is its turn and there is room; returns at once.

        Args:
            image: encoded, or base64 text.
            answer: gives what was answered; called where it is the image's turn.
        """
        if not self._share.takes_next():
            return
        one = _Waiting(image, answer())
        with self._changed:
            full = self._images >= QUEUE_IMAGES or self._bytes + len(image) > QUEUE_BYTES
            if not full:
                self._images += 1
                self._keep(len(image))
        if full:
            self._count(one, "dropped")
        else:
            asyncio.get_running_loop().call_later(_AFTER_SECONDS, self._enqueue, one)

    def _enqueue(self, one: _Waiting) -> None:
        with self._changed:
            if not self._closed:
                self._waiting.append(one)
                self._changed.notify()
                return
            self._images -= 1
            self._keep(-len(one.image))
        self._count(one, "dropped")

    def close(self) -> None:
        """Drop what waits, and let the thread end after what it is at."""
        with self._changed:
            self._closed = True
            left, self._waiting = list(self._waiting), deque()
            self._images -= len(left)
            self._keep(-sum(len(one.image) for one in left))
            self._changed.notify()
        for one in left:
            self._count(one, "dropped")

    def _keep(self, count: int) -> None:
        """Count bytes that are kept from now on, or no longer; the lock is held."""
        self._bytes += count
        if self._metrics is not None:
            self._metrics.shadow_bytes(self._bytes)

    def _run(self) -> None:
        connection: Connection | None = None
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    break
                one = self._waiting.popleft()
                self._images -= 1
            try:
                connection = connection or self._connect()
                self._compare(connection, one)
            except (OSError, EOFError, ValueError) as error:
                if connection is not None or self._version:
                    logger.error("the shadow does not answer: %s", type(error).__name__)
                connection, self._version = None, ""
                self._count(one, "failed")
            finally:
                with self._changed:
                    self._keep(-len(one.image))
        if connection is not None:
            connection.close()

    def _compare(self, connection: Connection, one: _Waiting) -> None:
        encoded = isinstance(one.image, str)
        question: dict[str, Any] = {"base64": encoded}
        vector = b""
        if isinstance(one.answer, Answer):
            first = one.answer.predictions[0]
            question |= {"label": first.label, "probability": first.probability}
        else:
            vector = np.asarray(one.answer.embedding, np.float32).tobytes()
        connection.send_bytes(json.dumps(question).encode())
        connection.send_bytes(one.image.encode() if isinstance(one.image, str) else one.image)
        connection.send_bytes(vector)
        told = json.loads(connection.recv_bytes())
        self._version = told["version"]
        self._count(one, told["outcome"])
        distance = told.get("distance")
        if self._metrics is not None and distance is not None and math.isfinite(distance):
            self._metrics.shadow_distance(one.answer.model, one.answer.version, self._version, distance)

    def _count(self, one: _Waiting, outcome: str) -> None:
        if self._metrics is not None:
            self._metrics.shadowed(one.answer.model, one.answer.version, self._version, outcome)


def _connect() -> Connection:
    return Client(os.environ[SOCKET_VARIABLE], family="AF_UNIX")
