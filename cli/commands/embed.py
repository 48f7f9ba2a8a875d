"""`pinnace embed`: the vectors that a network without a head gives for images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinnace.cli.classify.options import RETRIES_OF_MANY, SERVER_CONCURRENCY
from pinnace.cli.options import (
    ApiKeyOption,
    ImagesArgument,
    Json,
    ModelOption,
    NoProfileOption,
    ProgressOption,
    RuntimeOption,
    ThreadsOption,
    VariantOption,
    check_who_answers,
    command,
)

if TYPE_CHECKING:
    from pinnace.models.answer import Embedding


class VectorType(str, Enum):
    """How exact the numbers are that are written."""

    float32 = "float32"
    float16 = "float16"


@dataclass(frozen=True)
class EmbedOptions:
    """What the command line says; None where it says nothing."""

    images: ImagesArgument
    bundle: Annotated[
        Path | None,
        typer.Option(help="Embed with this bundle, in this process.", metavar="BUNDLE", show_default=False),
    ] = None
    url: Annotated[
        str | None,
        typer.Option(help="Embed with a server, such as http://localhost:3000.", show_default=False),
    ] = None
    api_key: ApiKeyOption = None
    model: ModelOption = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write to this file: .parquet, .npy (with the names beside it) or .jsonl.",
            show_default="JSON Lines on standard output",
        ),
    ] = None
    dtype: Annotated[VectorType, typer.Option(help="The type of the numbers that are written.")] = (
        VectorType.float32
    )
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images at once.",
            show_default=f"{SERVER_CONCURRENCY} with --url, the CPUs at hand with --bundle",
        ),
    ] = None
    variant: VariantOption = None
    runtime: RuntimeOption = None
    no_profile: NoProfileOption = False
    threads: ThreadsOption = None
    progress: ProgressOption = None
    json: Json = False

    def check(self) -> None:
        """Refuse options that exclude one another.

        Raises:
            UsageError: they do.
        """
        from pinnace.models.errors import UsageError

        check_who_answers(self.bundle, self.url, self.model, (self.variant, self.runtime, self.threads))
        if self.json and self.output is not None:
            raise UsageError(
                "--json prints the vectors; --output writes them to a file", hint="leave one out"
            )


@command
def embed(options: EmbedOptions) -> None:
    """Write the vectors of images, one for each, with a bundle in this process or with a running server.

    Images that cannot be read are named on standard error and left out.
    """
    from pinnace.cli.classify.display import Stopwatch, print_failure, print_ignored, progress_bar
    from pinnace.cli.classify.images import images_in
    from pinnace.cli.classify.job import outcomes_of
    from pinnace.cli.console import err
    from pinnace.cli.embed.vector_files import open_vectors
    from pinnace.models.errors import PinnaceError

    options.check()
    found = images_in(options.images)
    print_ignored(found.ignored)
    watch = Stopwatch()
    failed = done = 0
    with (
        _backend(options) as (answer, concurrency, join_timeout),
        open_vectors(options.output, sys.stdout, options.dtype.value) as file,
        progress_bar(options.progress, total=len(found.images), done=0) as bar,
        closing(outcomes_of(answer, found.images, concurrency, join_timeout)) as outcomes,
    ):
        for image, outcome in outcomes:
            if isinstance(outcome, PinnaceError):
                failed += 1
                if len(found.images) == 1:
                    raise outcome
                print_failure(bar.console, image, outcome)
            else:
                file.add(image, outcome)
                done += 1
            bar.advance()
    if options.output is not None:
        err().print(f"{done:,} vectors in {options.output}; {watch.seconds:.1f} s", markup=False)
    if failed or found.unreadable:
        raise typer.Exit(1)


@contextmanager
def _backend(
    options: EmbedOptions,
) -> Iterator[tuple[Callable[[str], Embedding], int, float | None]]:
    """What answers, how many calls at once are worth while, and how long to wait for them at the end."""
    from pinnace.models.cpus import available_cpus

    if options.url is not None:
        from pinnace.clients.client import Client

        retries, retries_when_full = RETRIES_OF_MANY
        with Client(
            options.url, retries=retries, retries_when_full=retries_when_full, api_key=options.api_key
        ) as client:
            concurrency = options.concurrency or SERVER_CONCURRENCY
            yield lambda image: client.embed(image, model=options.model), concurrency, 1.0
        return
    from pinnace.cli.console import print_note
    from pinnace.models.bundle.bundle import Bundle
    from pinnace.models.embedder import Embedder
    from pinnace.models.runtimes.base import RuntimeOptions
    from pinnace.models.selection import select

    assert options.bundle is not None
    threads = options.threads or 1
    concurrency = options.concurrency or max(1, available_cpus() // threads)
    bundle = Bundle.open(options.bundle)
    chosen = select(bundle, options.variant, options.runtime, use_profile=not options.no_profile)
    if chosen.note is not None:
        print_note(chosen.note)
    runtime = RuntimeOptions(threads=threads, device=chosen.device, concurrency=concurrency)
    with Embedder(bundle, chosen.variant, chosen.runtime, runtime) as embedder:
        yield embedder.embed, concurrency if embedder.runtime.concurrent else 1, None
