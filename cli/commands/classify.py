"""`pinnace classify`: a bundle in this process, or a server, on one image or on thousands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pinnace.cli.classify.options import ClassifyOptions, RowFormatName
from pinnace.cli.exit_status import INTERRUPTED
from pinnace.cli.options import command

if TYPE_CHECKING:
    from pinnace.cli.cluster.run import ClusterRun


@command
def classify(options: ClassifyOptions) -> None:
    """Classify images with a bundle in this process, or with a running server.

    The answers are shown as bars. With a DIR, --output or --format, each image becomes a row instead, written
    as soon as it is done, and a summary of the labels follows on standard error. With --ray, a cluster
    answers, and the same command continues a run that was interrupted.
    """
    from pinnace.cli.classify.display import print_ignored
    from pinnace.cli.classify.images import images_in
    from pinnace.cli.classify.show import show
    from pinnace.cli.classify.write_rows import TextRows, write_rows

    options.check()
    if options.ray is not None:
        try:
            all_answered = _cluster_run(options).work()
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        raise typer.Exit(0 if all_answered else 1)
    format = options.row_format()
    found = images_in(list(map(Path, options.images)))
    with options.backend(len(found.images)) as backend:
        if format is None:
            all_answered = show(backend, found.images, json=options.json)
        else:
            print_ignored(found.ignored)
            try:
                all_answered = write_rows(
                    backend,
                    found.images,
                    TextRows(format, options.output_file, resume=options.resume),
                    word="classified",
                    progress=options.progress,
                )
            except KeyboardInterrupt:
                raise typer.Exit(INTERRUPTED) from None
    if not all_answered or found.unreadable:
        raise typer.Exit(1)


def _cluster_run(options: ClassifyOptions) -> ClusterRun:
    """The same on a Ray cluster."""
    from pinnace.cli.bulk.model_spec import ModelSpec
    from pinnace.cli.cluster.run import ClusterRun
    from pinnace.models.runtimes.base import RuntimeOptions

    assert options.bundle is not None
    assert options.output is not None
    assert options.ray is not None
    threads = RuntimeOptions(threads=options.threads or 1)
    spec = ModelSpec(
        options.bundle,
        "classify",
        options.top_k,
        options.variant,
        options.runtime,
        threads,
        options.threshold,
    )
    return ClusterRun(
        options.images,
        options.column,
        options.output,
        options.ray,
        spec,
        not options.no_profile,
        (options.format or RowFormatName.parquet).value,
        options.shard_size,
        options.concurrency,
        options.progress,
        "classified",
    )
