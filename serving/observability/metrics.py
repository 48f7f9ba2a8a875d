"""Prometheus metrics of images: how many, how they ended, how long each stage took, how many wait.

Requests by route and status are BentoML's metrics; see `route_metrics`. Each worker writes its
numbers to files in one folder, and the worker that answers `/metrics` adds them up. Every label has few
values: what is served, the stages, and the codes of errors.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from pinnace.models.answer import Timing
from pinnace.models.errors import PinnaceError
from pinnace.serving.observability.shared_memory import FOLDER_VARIABLE

STAGES = ("decode", "preprocess", "queue", "infer")

# From a model that costs nothing to the limit of `PINNACE_TIMEOUT`; close together where most answers are.
BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1.0, 2.0, 5.0, 10.0, 30.0),
)

# Of probabilities, or 1 less a cosine: from what rounding does to another answer altogether.
DISTANCES = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)

_MODEL = ("model", "variant", "runtime")


class Metrics:
    """The metrics of one worker; make one in each, once it knows the folder."""

    def __init__(self) -> None:
        """Register the metrics, and drop what workers that are dead left of theirs."""
        # Reads in the environment where to write, when it is imported: not before the worker runs.
        from prometheus_client import Counter, Gauge, Histogram

        _forget_the_dead()
        self._images = Counter("pinnace_images", "Images, by how they ended", [*_MODEL, "outcome"])
        self._stage = Histogram(
            "pinnace_stage_seconds", "Time of an image in each stage", [*_MODEL, "stage"], buckets=BUCKETS
        )
        self._total = Histogram(
            "pinnace_image_seconds", "Time from the image at hand to its answer", _MODEL, buckets=BUCKETS
        )
        self._reloads = Counter("pinnace_reloads", "Bundles taken up, or refused", ["model", "outcome"])
        self._watched = Counter(
            "pinnace_bundle_checks", "Looks for another bundle, by what was found", ["model", "outcome"]
        )
        compared = ["model", "version", "shadow"]
        self._shadowed = Counter(
            "pinnace_shadow", "Images for the shadow, by how they ended", [*compared, "outcome"]
        )
        self._shadow_distance = Histogram(
            "pinnace_shadow_distance", "Distance of the shadow's answer", compared, buckets=DISTANCES
        )
        self._recorded = Counter("pinnace_record_rows", "Rows of the record, by how they ended", ["outcome"])
        self._explanations = Counter(
            "pinnace_explanations", "Answers of /explain, by how they ended", [*_MODEL, "outcome"]
        )
        live: Any = {"multiprocess_mode": "livesum"}
        self._in_flight = Gauge("pinnace_images_in_flight", "Images that wait or are in work", **live)
        self._queued = Gauge("pinnace_images_queued", "Images that wait", **live)
        self._slots = Gauge("pinnace_slots", "Images that can be in work at once", **live)
        self._shadow_bytes = Gauge("pinnace_shadow_bytes", "Bytes that wait for the shadow", **live)
        self._record_bytes = Gauge("pinnace_record_bytes", "Bytes of images that wait for the record", **live)
        self._concurrency = 0

    def start(self, slots: int) -> None:
        """Images may come; `slots` of them are in work at once."""
        self._concurrency = slots
        self._slots.set(slots)
        self.in_flight(0)

    def in_flight(self, images: int) -> None:
        """So many wait or are in work in this worker now."""
        self._in_flight.set(images)
        self._queued.set(max(0, images - self._concurrency))

    def reloaded(self, model: str, outcome: str) -> None:
        """A bundle was taken up (`ok`) or not (the code of the error)."""
        self._reloads.labels(model, outcome).inc()

    def watched(self, model: str, outcome: str) -> None:
        """It was looked where a bundle came from: `same`, `changed`, `refused` or `unreachable`."""
        self._watched.labels(model, outcome).inc()

    def explained(self, model: str, variant: str, runtime: str, outcome: str) -> None:
        """An image was explained (`ok`) or not (the code of the error)."""
        self._explanations.labels(model, variant, runtime, outcome).inc()

    def shadowed(self, model: str, version: str, shadow: str, outcome: str) -> None:
        """An image was compared by the shadow of this version, could not be, or was dropped."""
        self._shadowed.labels(model, version, shadow, outcome).inc()

    def shadow_distance(self, model: str, version: str, shadow: str, distance: float) -> None:
        """How far the shadow's answer was from the one that was given."""
        self._shadow_distance.labels(model, version, shadow).observe(distance)

    def shadow_bytes(self, count: int) -> None:
        """So many bytes of images wait for the shadow in this worker now."""
        self._shadow_bytes.set(count)

    def recorded(self, outcome: str, rows: int) -> None:
        """So many rows of the record were written, could not be, or were dropped."""
        self._recorded.labels(outcome).inc(rows)

    def record_bytes(self, count: int) -> None:
        """So many bytes of images wait for the record in this worker now."""
        self._record_bytes.set(count)

    def for_model(self, model: str, variant: str, runtime: str) -> ModelMetrics:
        """The metrics of one model."""
        names = (model, variant, runtime)
        return ModelMetrics(self._images, self._stage, self._total, names)


class ModelMetrics:
    """The metrics of one model in one variant and runtime; threads may call it at once."""

    def __init__(self, images: Any, stage: Any, total: Any, names: tuple[str, str, str]) -> None:
        """Look up the series of the model once, instead of for every image."""
        self._images = images
        self._names = names
        self._ok = images.labels(*names, "ok")
        self._stages = [stage.labels(*names, one) for one in STAGES]
        self._total = total.labels(*names)

    def record(self, future: Future[Any]) -> None:
        """Count an image by what became of it; where that is an answer, it has `timing_ms`."""
        try:
            error = future.exception()
        except CancelledError:
            self._images.labels(*self._names, "cancelled").inc()
            return
        if error is not None:
            code = error.code if isinstance(error, PinnaceError) else PinnaceError.code
            self._images.labels(*self._names, code).inc()
            return
        timing: Timing = future.result().timing_ms
        self._ok.inc()
        for series, name in zip(self._stages, STAGES, strict=True):
            series.observe(getattr(timing, name) / 1000)
        self._total.observe(timing.total / 1000)


def server_timing(timing: Timing) -> dict[str, str]:
    """The header `Server-Timing`, which browsers show among a request's times (https://w3c.github.io/server-timing)."""
    return {
        "Server-Timing": f"decode;dur={timing.decode:.3f}, preprocess;dur={timing.preprocess:.3f}, "
        f"queue;dur={timing.queue:.3f}, infer;dur={timing.infer:.3f}, total;dur={timing.total:.3f}"
    }


def _forget_the_dead() -> None:
    """A worker that was killed leaves its gauges behind, and its images would be in flight for ever."""
    folder = os.environ.get(FOLDER_VARIABLE)
    for path in Path(folder).glob("gauge_live*_*.db") if folder else ():
        pid = path.stem.rpartition("_")[2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
