"""Handing shards out to actors with Ray Data, and hearing of each what has become of it."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pinnace.cli.cluster.connection import WAITING_THREAD
from pinnace.cli.cluster.worker import ShardTask, ShardWorker
from pinnace.models.errors import PinnaceError, error_lines

# Ray holds a reference for each; more shards than that are handed out several at once.
_MOST_BLOCKS = 4096

# The loss of a machine costs each of its shards a try.
_TRIES = 20

# Seconds without a word from a cluster that has become smaller, after which the rest is handed out anew.
STALLED = 30.0

# Seconds in which no machine had a place for an actor, after which the run ends.
FULL = 120.0


# The hint where what is done stays done.
AGAIN = "run the same command again to continue"


class SmallerCluster(Exception):
    """A machine was lost, and nothing takes its place."""


@dataclass(frozen=True)
class HandOut:
    """What is handed out, and how long to wait.

    Attributes:
        task: what the actors do.
        shards: their numbers.
        bundle: what `pack` gives.
        workers: how many actors at most, or None for what the cluster has room for.
        stalled: see `STALLED`.
        full: see `FULL`.
    """

    task: ShardTask
    shards: Sequence[int]
    bundle: bytes
    workers: int | None
    stalled: float = field(default_factory=lambda: STALLED)
    full: float = field(default_factory=lambda: FULL)

    def reports(self) -> Iterator[dict[str, Any] | None]:
        """Hand out shards, and yield what the actors say of each; None where the cluster answers alone.

        Raises:
            PinnaceError: the cluster does not get on.
            SmallerCluster: a machine was lost, and its shards wait for another.
        """
        size = _room(self)
        said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=_execute, args=(self, size, said), name=WAITING_THREAD, daemon=True).start()
        latest = placed = time.monotonic()
        while True:
            try:
                report = said.get(timeout=1)
            except queue.Empty:
                now = time.monotonic()
                # An actor of a machine that was lost is started anew where there is room, and Ray waits for
                # that even where the other actors have nothing left to do.
                if now - latest > self.stalled and _room(self) < size:
                    raise SmallerCluster from None
                if _has_places():
                    placed = now
                elif now - placed > self.full:
                    raise PinnaceError(
                        f"no machine of the cluster had a place for a worker for {self.full:.0f} seconds",
                        hint="run the same command again when other jobs have ended",
                    ) from None
                yield None
                continue
            latest = placed = time.monotonic()
            if report is None:
                return
            if isinstance(report, BaseException):
                raise PinnaceError(
                    f"the cluster did not finish the work: {error_lines(report)[0]}", hint=AGAIN
                )
            yield report


def _has_places() -> bool:
    """Whether a machine has given a place to an actor of this job, which may still be loading.

    An actor that waits for a place has the port of the machine's raylet, and later that of its own process.
    """
    import ray
    from ray._private import state

    job = ray.get_runtime_context().get_job_id()
    raylets = {(node["NodeID"], node["NodeManagerPort"]) for node in ray.nodes()}  # type: ignore[no-untyped-call]
    return any(
        actor["State"] != "DEAD"
        and actor["Address"]["IPAddress"]
        and (actor["Address"]["NodeID"], actor["Address"]["Port"]) not in raylets
        for actor in state.actors().values()
        if actor["JobID"] == job and actor["ActorClassName"].startswith("MapWorker")
    )


def _room(given: HandOut) -> int:
    """How many actors there is room for, and work."""
    import ray

    has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cpus = int(has.get("CPU", 0)) // given.task.spec.options.threads
    room = int(has.get("GPU", 0)) if given.task.spec.device == "cuda" else cpus
    return max(1, min(given.workers or room, len(given.shards)))


def _execute(given: HandOut, size: int, said: queue.SimpleQueue[Any]) -> None:
    """Work off a data set of shards; say each report, then None, or what went wrong."""
    import ray
    import ray.data

    task, shards = given.task, given.shards
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Version 2.60 deprecates how these are given, and has no other way for the two that follow.
    warnings.filterwarnings("ignore", category=ray.util.annotations.RayDeprecationWarning)
    try:
        dataset = ray.data.from_items(
            [{"shard": shard} for shard in shards], override_num_blocks=min(len(shards), _MOST_BLOCKS)
        ).map_batches(
            ShardWorker,
            fn_constructor_args=(task, ray.put(given.bundle)),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(min_size=size, max_size=size, max_tasks_in_flight_per_actor=2),
            num_cpus=task.spec.options.threads,
            num_gpus=1 if task.spec.device == "cuda" else 0,
            max_restarts=-1,
            max_task_retries=_TRIES,
        )
        for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
            for report in batch["report"]:
                said.put(json.loads(report))
        said.put(None)
    except BaseException as error:
        said.put(error)
