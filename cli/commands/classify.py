"""`pinnace classify`: a bundle in this process, or a server, on one image or on thousands."""

from __future__ import annotations

from pathlib import Path

import typer

from pinnace.cli.classify.options import ClassifyOptions, RowFormatName
from pinnace.cli.exit_status import INTERRUPTED
from pinnace.cli.options import command


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
        from pinnace.cli.cluster.run import run_on_a_cluster

        format_name = (options.format or RowFormatName.parquet).value
        run_on_a_cluster(options, options.spec(options.threads or 1), format_name, "classified")
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
