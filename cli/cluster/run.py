"""One run on a Ray cluster: the driver, which hands out shards and counts what comes back."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import queue
import sys
import threading
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TextIO, TypeAlias

from pinnace.cli.bulk.model_spec import ModelSpec
from pinnace.cli.classify.display import Stopwatch, print_summary, progress_bar
from pinnace.cli.classify.job import Tally
from pinnace.cli.cluster import storage
from pinnace.cli.cluster.inputs import paths_of
from pinnace.cli.cluster.job import ClusterJob, begin, measure, shard_size_for, taken
from pinnace.cli.cluster.worker import ShardTask, ShardWorker, pack
from pinnace.cli.console import err, print_note
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.cpus import available_cpus
from pinnace.models.errors import MissingDependency, PinnaceError, UsageError, error_lines, from_dict
from pinnace.models.selection import answering, select

# Ray holds a reference for each; more shards than that are handed out several at once.
_MOST_BLOCKS = 4096

# The loss of a machine costs each of its shards a try.
_TRIES = 20

# The thread that waits for Ray Data, and seconds within which it and Ray Data's own have to end.
_THREAD = "pinnace-ray"
_ENDING = 30.0

# Seconds without a word from a cluster that has become smaller, after which the rest is handed out anew.
STALLED = 30.0

Reports: TypeAlias = "Generator[dict[str, Any], None, None]"


@dataclass(frozen=True)
class ClusterRun:
    """What the command line asks for.

    Attributes:
        inputs: folders, patterns, images and lists; see `paths_of`.
        column: which column of a list has the paths.
        output: the folder of the answers, local or a URI.
        ray: `local`, `auto`, or the address of a cluster.
        spec: the model; its options say how many threads a worker has.
        use_profile: whether what `pinnace tune` found is used.
        format: `parquet` or `jsonl`.
        shard_size: images of a shard, or None for the usual.
        workers: how many at most, or None for what the cluster has room for.
        progress: whether to draw a bar; None means on a terminal only.
        word: what an image is that has its answer, such as `classified`.
    """

    inputs: Sequence[str]
    column: str | None
    output: str
    ray: str
    spec: ModelSpec
    use_profile: bool
    format: str
    shard_size: int | None
    workers: int | None
    progress: bool | None
    word: str

    def work(self) -> bool:
        """Answer for every image, and summarise on standard error.

        Returns:
            Whether every image has an answer, those of earlier runs included.

        Raises:
            PinnaceError: the job cannot be begun or continued, or an error is not about one image.
            KeyboardInterrupt: interrupted; parts that are written stay, and a message has been printed.
        """
        _check_ray_is_there()
        spec, variant = self._chosen()
        output = storage.absolute(self.output)

        def paths() -> Iterator[str]:
            return paths_of(self.inputs, self.column)

        images, digest = measure(paths)
        if not images:
            raise UsageError(f"there are no images in {', '.join(self.inputs)}")
        bundle = Bundle.open(spec.folder)
        job = ClusterJob(
            images,
            self.shard_size or shard_size_for(images),
            digest,
            spec.use,
            bundle.name,
            bundle.version,
            variant,
            self.format,
            spec.top_k,
            spec.threshold,
        )
        with taken(output):
            begin(output, job, paths)
            tally, watch = Tally(), Stopwatch()
            try:
                self._hand_out(ShardTask(output, job, spec), pack(spec.folder, variant), tally)
            except (KeyboardInterrupt, PinnaceError) as error:
                what = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopped"
                done = tally.answered + tally.failed
                text = f"{what}: {done:,} of {images:,} images are done; run the same command to continue"
                if done:
                    err().print(text, soft_wrap=True, markup=False)
                raise
            storage.remove(storage.join(output, "_tmp"))
        print_summary(tally, watch.seconds, self.word)
        return tally.all_answered

    def _chosen(self) -> tuple[ModelSpec, str]:
        """The model with its variant decided here, so that all machines run the same one."""
        self.spec.check()
        bundle = Bundle.open(self.spec.folder)
        chosen = select(bundle, self.spec.variant, self.spec.runtime, use_profile=self.use_profile)
        if chosen.note is not None:
            print_note(chosen.note)
        variant, _ = answering(bundle, chosen)
        spec = replace(self.spec, variant=variant, runtime=chosen.runtime)
        return replace(spec, options=replace(spec.options, device=chosen.device)), variant

    def _hand_out(self, task: ShardTask, bundle: bytes, tally: Tally) -> None:
        left = set(range(task.job.shards))
        with _without_native_output(), progress_bar(self.progress, total=task.job.images, done=0) as bar:
            while left:
                with (
                    contextlib.suppress(_SmallerCluster),
                    _connected(self.ray, len(bundle)),
                    contextlib.closing(_reports(task, sorted(left), bundle, self.workers)) as reports,
                ):
                    for report in reports:
                        if report["shard"] in left:
                            left.remove(report["shard"])
                            bar.advance(self._count(task.job, report, tally))

    def _count(self, job: ClusterJob, report: dict[str, Any], tally: Tally) -> int:
        """Count a shard, and return how many images it has."""
        if "problem" in report:
            error = from_dict(report["problem"])
            if self.ray != "local":
                error.message += f" (on {report['machine']})"
            raise error
        images = job.images_of(report["shard"])
        tally.failed += report["failed"]
        tally.answered += images - report["failed"]
        tally.labels.update(report["labels"])
        if report["earlier"]:
            tally.earlier += images
        else:
            tally.attempted += images
        return images


class _SmallerCluster(Exception):
    """A machine was lost, and nothing takes its place."""


@contextmanager
def _without_native_output() -> Iterator[None]:
    """Keep what Ray's own processes and threads write to standard error off it, and what Python writes on it.

    They have a log of their own, in /tmp/ray.
    """
    before, ours = sys.stderr, os.dup(2)
    before.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    with os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace") as still:
        try:
            if _is_standard_error(before):
                sys.stderr = still
            os.dup2(null, 2)
            yield
        finally:
            os.dup2(ours, 2)
            sys.stderr = before
            os.close(ours)
            os.close(null)


def _is_standard_error(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):  # a test's
        return False


def _check_ray_is_there() -> None:
    for package in ("ray", "pyarrow"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(
                f"--ray needs {package}, which is not installed", hint="pip install 'pinnace[ray]'"
            )


@contextmanager
def _connected(address: str, bundle_bytes: int) -> Iterator[None]:
    """A cluster: one of this machine's own for `local`, which listens on loopback and ends with the run."""
    # Before the import: Ray reports its use to its maker otherwise.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # or the thread that is left would start a cluster of its own
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == "local":
            ray.init(
                "local",
                num_cpus=available_cpus(),
                include_dashboard=False,
                object_store_memory=256 * 2**20 + 2 * bundle_bytes,
                _node_ip_address="127.0.0.1",
                **quiet,
            )
        else:
            ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            "no Ray cluster was found" if address == "auto" else f"there is no Ray cluster at {address}",
            got=error_lines(error)[0],
            hint="start one with `ray start --head`, or use this machine alone: --ray local",
        ) from None
    try:
        yield
    finally:
        _end_execution()
        ray.shutdown()


def _end_execution() -> None:
    """End what Ray Data still executes, as after Ctrl-C or the loss of a machine.

    Its thread would find Ray shut down, and Ray then ends the whole process.
    """
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

    for thread in threading.enumerate():
        if isinstance(thread, StreamingExecutor):
            thread.shutdown(force=True)
            thread.join(_ENDING)
    for thread in threading.enumerate():
        if thread.name == _THREAD:
            thread.join(_ENDING)


def _reports(task: ShardTask, shards: Sequence[int], bundle: bytes, workers: int | None) -> Reports:
    """Hand out shards, and yield what the actors say of each.

    Raises:
        PinnaceError: the cluster does not get on.
        _SmallerCluster: a machine was lost, and its shards wait for another.
    """
    size = _room(task, workers, len(shards))
    said: queue.SimpleQueue[Any] = queue.SimpleQueue()
    given = (task, shards, bundle, size, said)
    threading.Thread(target=_execute, args=given, name=_THREAD, daemon=True).start()
    latest = time.monotonic()
    while True:
        try:
            report = said.get(timeout=1)
        except queue.Empty:
            # An actor of a machine that was lost is started anew where there is room, and Ray waits for that
            # even where the other actors have nothing left to do.
            if time.monotonic() - latest > STALLED and _room(task, workers, len(shards)) < size:
                raise _SmallerCluster from None
            continue
        latest = time.monotonic()
        if report is None:
            return
        if isinstance(report, BaseException):
            raise PinnaceError(
                f"the cluster did not finish the work: {error_lines(report)[0]}",
                hint="run the same command again to continue",
            )
        yield report


def _room(task: ShardTask, workers: int | None, shards: int) -> int:
    """How many actors there is room for, and work."""
    import ray

    has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cpus = int(has.get("CPU", 0)) // task.spec.options.threads
    room = int(has.get("GPU", 0)) if task.spec.device == "cuda" else cpus
    return max(1, min(workers or room, shards))


def _execute(
    task: ShardTask, shards: Sequence[int], bundle: bytes, size: int, said: queue.SimpleQueue[Any]
) -> None:
    """Work off a data set of shards; say each report, then None, or what went wrong."""
    import ray
    import ray.data

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
            fn_constructor_args=(task, ray.put(bundle)),
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
