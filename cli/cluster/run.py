"""One run on a Ray cluster: the driver, which hands out shards and counts what comes back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol

import typer

from pinnace.cli.bulk.model_spec import ModelSpec
from pinnace.cli.classify.display import Stopwatch, print_summary, progress_bar
from pinnace.cli.classify.job import Tally
from pinnace.cli.cluster.connection import check_ray_is_there
from pinnace.cli.cluster.driver import Driver
from pinnace.cli.cluster.hand_out import HandOut, SmallerCluster
from pinnace.cli.cluster.inputs import paths_of
from pinnace.cli.cluster.job import ClusterJob, begin, measure, shard_size_for, taken
from pinnace.cli.cluster.worker import ShardTask, pack
from pinnace.cli.console import err, print_note
from pinnace.cli.exit_status import INTERRUPTED
from pinnace.models import file_stores
from pinnace.models.errors import PinnaceError, UsageError, from_dict


class ClusterOptions(Protocol):
    """What the command line says of a run on a cluster; None where it says nothing."""

    @property
    def images(self) -> Sequence[str]:
        """Folders, patterns, images and lists; see `paths_of`."""

    @property
    def column(self) -> str | None:
        """Which column of a list has the paths."""

    @property
    def output(self) -> str | None:
        """The folder of the answers, local or a URI."""

    @property
    def ray(self) -> str | None:
        """`local`, `auto`, or the address of a cluster."""

    @property
    def no_profile(self) -> bool:
        """Whether what `pinnace tune` found is left out."""

    @property
    def shard_size(self) -> int | None:
        """Images of a shard."""

    @property
    def concurrency(self) -> int | None:
        """How many workers at most."""

    @property
    def progress(self) -> bool | None:
        """Whether to draw a bar; None means on a terminal only."""


def run_on_a_cluster(options: ClusterOptions, spec: ModelSpec, format: str, word: str) -> NoReturn:
    """Answer for every image on a Ray cluster, and end the command.

    Args:
        options: what the command line says.
        spec: the model; its options say how many threads a worker has.
        format: `parquet` or `jsonl`.
        word: what an image is that has its answer, such as `classified`.

    Raises:
        Exit: always, with 0, with 1 if an image could not be read, or as an interrupted command ends.
        PinnaceError: the job cannot be begun or continued, or an error is not about one image.
    """
    try:
        all_answered = ClusterRun(options, spec, format, word).work()
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(0 if all_answered else 1)


@dataclass(frozen=True)
class ClusterRun:
    """See `run_on_a_cluster`."""

    options: ClusterOptions
    spec: ModelSpec
    format: str
    word: str

    def work(self) -> bool:
        """Answer for every image, and summarise on standard error.

        Returns:
            Whether every image has an answer, those of earlier runs included.

        Raises:
            PinnaceError: the job cannot be begun or continued, or an error is not about one image.
            KeyboardInterrupt: interrupted; parts that are written stay, and a message has been printed.
        """
        check_ray_is_there()
        options, spec, variant = self.options, *self._chosen()
        assert options.output is not None
        output = file_stores.absolute(options.output)

        def paths() -> Iterator[str]:
            return paths_of(options.images, options.column)

        images, digest = measure(paths)
        if not images:
            raise UsageError(f"there are no images in {', '.join(options.images)}")
        job = ClusterJob(
            images,
            options.shard_size or shard_size_for(images),
            digest,
            spec.use,
            spec.bundle.name,
            spec.bundle.version,
            variant,
            self.format,
            spec.top_k,
            spec.threshold,
        )
        with taken(output):
            begin(output, job, paths)
            tally, watch = Tally(), Stopwatch()
            try:
                self._hand_out(ShardTask(output, job, spec), pack(spec.bundle, variant), tally)
            except (KeyboardInterrupt, PinnaceError) as error:
                what = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopped"
                done = tally.answered + tally.failed
                text = f"{what}: {done:,} of {images:,} images are done; run the same command to continue"
                if done:
                    err().print(text, soft_wrap=True, markup=False)
                raise
            file_stores.remove(file_stores.join(output, file_stores.TEMPORARY))
        print_summary(tally, watch.seconds, self.word)
        return tally.all_answered

    def _chosen(self) -> tuple[ModelSpec, str]:
        """The model with its variant decided here, so that all machines run the same one."""
        self.spec.check()
        spec, note = self.spec.chosen(use_profile=not self.options.no_profile)
        if note is not None:
            print_note(note)
        variant = spec.answering()[0]
        return replace(spec, variant=variant), variant

    def _hand_out(self, task: ShardTask, bundle: bytes, tally: Tally) -> None:
        left, ray = set(range(task.job.shards)), self.options.ray
        assert ray is not None
        with progress_bar(self.options.progress, total=task.job.images, done=0) as bar:
            while left:
                work = HandOut(task, sorted(left), bundle, self.options.concurrency)
                with (
                    contextlib.suppress(SmallerCluster),
                    contextlib.closing(Driver(ray, work).reports()) as reports,
                ):
                    for report in reports:
                        if report["shard"] in left:
                            left.remove(report["shard"])
                            bar.advance(self._count(task.job, report, tally))

    def _count(self, job: ClusterJob, report: dict[str, Any], tally: Tally) -> int:
        """Count a shard, and return how many images it has."""
        if "problem" in report:
            error = from_dict(report["problem"])
            if self.options.ray != "local":
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
