"""A process that runs the pipeline of configurations, from JPEG bytes to the answer, as it is told.

It reads a JSON object a line on standard input, and answers each with one on standard output. It ends when
its input does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.errors import PinnaceError
from pinnace.models.image.decode import open_image
from pinnace.models.open_model import AnsweringModel, open_model
from pinnace.models.runtimes.base import RuntimeOptions


class Pipelines:
    """The open configurations of one process."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[AnsweringModel, int]] = {}
        self._images: list[bytes] = []

    def begin(self, images: list[str]) -> None:
        """Read the images, which are what is answered."""
        self._images = [Path(image).read_bytes() for image in images]

    def open(
        self,
        key: str,
        bundle: str,
        variant: str,
        runtime: str,
        threads: int,
        batch: int,
        device: str | None,
    ) -> None:
        """Load a configuration and warm it up."""
        options = RuntimeOptions(threads=threads, device=device, batch=batch)
        model = open_model(Bundle.open(bundle), variant, runtime, options)
        self._open[key] = model, batch
        model.warm_up(batch, runs=2)
        self._call(model, batch, 0)

    def run(self, key: str, seconds: float, first: int) -> dict[str, Any]:
        """Call a configuration again and again for so long, and once at least."""
        model, batch = self._open[key]
        calls: list[float] = []
        began = now = time.perf_counter()
        while not calls or now - began < seconds:
            started = now
            self._call(model, batch, first + len(calls) * batch)
            now = time.perf_counter()
            calls.append(round(1000 * (now - started), 4))
        return {"seconds": now - began, "calls_ms": calls}

    def close(self, key: str) -> None:
        """Free a configuration."""
        if key in self._open:
            self._open.pop(key)[0].close()

    def _call(self, model: AnsweringModel, batch: int, first: int) -> None:
        chosen = [self._images[(first + step) % len(self._images)] for step in range(batch)]
        inputs = np.concatenate([model.prepare(open_image(image, whole=False)) for image in chosen])
        for values in model.infer(inputs):
            if isinstance(model, Classifier):
                model.predictions(values, None)


def serve(lines: TextIO, answers: TextIO) -> None:
    """Answer every line until there is none."""
    pipelines = Pipelines()
    verbs: dict[str, Callable[..., Any]] = {
        "begin": pipelines.begin,
        "open": pipelines.open,
        "run": pipelines.run,
        "close": pipelines.close,
    }
    for line in lines:
        order = json.loads(line)
        try:
            answer: Any = {"ok": verbs[order.pop("do")](**order)}
        except PinnaceError as error:
            answer = {"error": error.to_dict()}
        except Exception as error:  # a library's own
            answer = {"error": PinnaceError(f"{type(error).__name__}: {error}").to_dict()}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Keep standard output for answers: a runtime may print what it likes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
