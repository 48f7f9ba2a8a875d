"""`pinnace classify`: ask a bundle in this process, or a server, for one image or for thousands."""

from __future__ import annotations

from contextlib import AbstractContextManager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinnace.cli.options import Json, ProgressOption, RuntimeOption, ThreadsOption, VariantOption

if TYPE_CHECKING:
    from pinnace.cli.classify.job import Backend
    from pinnace.cli.classify.row_formats import RowFormat

# Enough for a server of many CPUs; a request that waits costs this side next to nothing.
SERVER_CONCURRENCY = 16

# Where the connection fails, and where the server is full. A run of hours survives a restart of the server
# and gives way to others; whoever waits for one image wants to know soon.
_RETRIES_OF_MANY = (6, 30)
_RETRIES_OF_FEW = (2, 2)

_INTERRUPTED = 130


class RowFormatName(str, Enum):
    """How rows are written."""

    jsonl = "jsonl"
    csv = "csv"


def classify(
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Image files, and folders to search for them.", metavar="IMAGE|DIR...", show_default=False
        ),
    ],
    bundle: Annotated[
        Path | None, typer.Option(help="Classify in this process.", metavar="BUNDLE", show_default=False)
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Ask a server, such as http://localhost:3000.", show_default=False)
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="PINNACE_API_KEY",
            help="What the server asks for.",
            show_default="$PINNACE_API_KEY",
            show_envvar=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Which of the server's models.", show_default="its first")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="How many classes.", show_default="5")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write rows to this file, .jsonl or .csv.", show_default=False),
    ] = None,
    format: Annotated[
        RowFormatName | None,
        typer.Option(
            help="Write rows like this.",
            metavar="jsonl|csv",
            show_default="as --output ends; jsonl for a DIR",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the output that an earlier run began.")
    ] = False,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images at once, where rows are written.",
            show_default=f"{SERVER_CONCURRENCY} with --url, the CPUs at hand with --bundle",
        ),
    ] = None,
    variant: VariantOption = None,
    runtime: RuntimeOption = None,
    threads: ThreadsOption = None,
    progress: ProgressOption = None,
    json: Json = False,
) -> None:
    """Classify images with a bundle in this process, or with a running server.

    The answers are shown as bars. With a DIR, --output or --format, each image becomes a row instead, as soon
    as it is done, and a summary of the labels follows on standard error.
    """
    from pinnace.cli.classify.discovery import find_images
    from pinnace.cli.classify.display import print_failure, print_ignored
    from pinnace.cli.classify.show import show
    from pinnace.cli.classify.write_rows import write_rows
    from pinnace.cli.console import err
    from pinnace.models.errors import ImageError, UsageError
    from pinnace.models.image.decode import SUFFIXES

    if (bundle is None) == (url is None):
        raise UsageError("give either --bundle BUNDLE or --url URL")
    if url is not None and (variant or runtime or threads):
        raise UsageError("--variant, --runtime and --threads choose for --bundle; a server has chosen")
    if model is not None and url is None:
        raise UsageError("--model chooses among a server's models, so it needs --url")
    if json and (output or format):
        raise UsageError("--json prints one list; --output and --format write rows", hint="leave one out")
    if resume and output is None:
        raise UsageError("--resume goes on with a file", hint="name it with --output")
    rows = not json and (output is not None or format is not None or any(path.is_dir() for path in images))
    how = _format(output, format, top_k) if rows else None

    found = find_images(images)
    for problem in found.closed:
        print_failure(
            err(), str(problem.filename), ImageError(f"the folder cannot be read: {problem.strerror}")
        )
    if not found.images:
        where = ", ".join(map(str, images))
        raise UsageError(
            f"there are no images in {where}", expected=f"files that end in {', '.join(SUFFIXES)}"
        )
    with _asked(bundle, url, api_key, model, top_k, variant, runtime, threads, concurrency, rows) as asked:
        if how is not None:
            print_ignored(found.ignored)
            try:
                all_answered = write_rows(asked, found.images, how, output, resume=resume, progress=progress)
            except KeyboardInterrupt:
                raise typer.Exit(_INTERRUPTED) from None
        else:
            all_answered = show(asked, found.images, json=json)
    if not all_answered or found.closed:
        raise typer.Exit(1)


def _format(output: Path | None, format: RowFormatName | None, top_k: int | None) -> RowFormat:
    from pinnace.cli.classify.row_formats import Csv, JsonLines
    from pinnace.models.errors import UsageError
    from pinnace.models.predictions import DEFAULT_TOP_K

    suffix = output.suffix.lower() if output is not None else JsonLines.suffixes[0]
    if format is RowFormatName.csv or (format is None and suffix in Csv.suffixes):
        return Csv(top_k or DEFAULT_TOP_K)
    if format is RowFormatName.jsonl or suffix in JsonLines.suffixes:
        return JsonLines()
    raise UsageError(
        f"the name {output} does not say how rows are written",
        expected=f"a file that ends in {', '.join((*JsonLines.suffixes, *Csv.suffixes))}",
        hint="or say it with --format",
    )


def _asked(
    bundle: Path | None,
    url: str | None,
    api_key: str | None,
    model: str | None,
    top_k: int | None,
    variant: str | None,
    runtime: str | None,
    threads: int | None,
    concurrency: int | None,
    rows: bool,
) -> AbstractContextManager[Backend]:
    from pinnace.cli.classify.backends import bundle_backend, server_backend
    from pinnace.models.cpus import available_cpus

    if url is not None:
        broken, full = _RETRIES_OF_MANY if rows else _RETRIES_OF_FEW
        at_once = concurrency or SERVER_CONCURRENCY if rows else 1
        return server_backend(
            url,
            top_k,
            api_key=api_key,
            retries=broken,
            retries_when_full=full,
            concurrency=at_once,
            model=model,
        )
    assert bundle is not None
    threads = threads or (1 if rows else available_cpus())
    at_once = concurrency or max(1, available_cpus() // threads) if rows else 1
    return bundle_backend(
        bundle, top_k, variant=variant, runtime=runtime, threads=threads, concurrency=at_once
    )
