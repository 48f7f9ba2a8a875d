"""`pinnace embed`: the vectors that a network without a head gives for images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinnace.cli.bundles import bundle_folder
from pinnace.cli.classify.options import RETRIES_OF_MANY, SERVER_CONCURRENCY
from pinnace.cli.exit_status import INTERRUPTED
from pinnace.cli.options import (
    ApiKeyOption,
    ColumnOption,
    ImagesArgument,
    Json,
    ModelOption,
    NoProfileOption,
    OnDeviceOption,
    ProgressOption,
    RayOption,
    RuntimeOption,
    ShardSizeOption,
    ThreadsOption,
    VariantOption,
    check_ray,
    check_who_answers,
    command,
    server_url,
)

if TYPE_CHECKING:
    from pinnace.cli.bulk.model_spec import ModelSpec
    from pinnace.cli.classify.job import Backend
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
        typer.Option(
            help="Embed with this bundle, in this process.",
            metavar="BUNDLE",
            parser=bundle_folder,
            show_default=False,
        ),
    ] = None
    url: Annotated[
        str | None,
        typer.Option(
            help="Embed with a server, such as http://localhost:3000.",
            callback=server_url,
            show_default=False,
        ),
    ] = None
    api_key: ApiKeyOption = None
    model: ModelOption = None
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to this file: .parquet, .npy (with the names beside it) or .jsonl.",
            show_default="JSON Lines on standard output",
        ),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the --output file of an earlier run.")
    ] = False
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
    device: OnDeviceOption = None
    no_profile: NoProfileOption = False
    threads: ThreadsOption = None
    ray: RayOption = None
    column: ColumnOption = None
    shard_size: ShardSizeOption = None
    progress: ProgressOption = None
    json: Json = False

    def check(self) -> None:
        """Refuse options that exclude one another.

        Raises:
            UsageError: they do.
        """
        from pinnace.models.errors import UsageError

        check_who_answers(
            self.bundle, self.url, self.model, (self.variant, self.runtime, self.device, self.threads)
        )
        check_ray(self.ray, (self.column, self.shard_size), self.bundle, self.output, json=self.json)
        if self.json and self.output is not None:
            raise UsageError("--json prints one list; --output writes a file", hint="leave one out")
        if self.resume and self.output is None:
            raise UsageError("--resume continues a file", hint="name it with --output")


@command
def embed(options: EmbedOptions) -> None:
    """Write the vectors of images, one for each, with a bundle in this process or with a running server.

    Each is written as soon as it is done. Images that cannot be read are named on stderr and left out.
    """
    from pinnace.cli.classify.display import print_ignored
    from pinnace.cli.classify.images import images_in
    from pinnace.cli.classify.show import show
    from pinnace.cli.classify.write_rows import write_rows
    from pinnace.cli.embed.rows import rounded, rows_for

    options.check()
    if options.ray is not None:
        from pinnace.cli.cluster.run import run_on_a_cluster

        run_on_a_cluster(options, _spec(options, options.threads or 1), "parquet", "embedded")
    found = images_in(list(map(Path, options.images)))
    print_ignored(found.ignored)
    with _backend(options, len(found.images)) as backend:
        if options.json:
            answer = backend.answer
            asked = replace(backend, answer=lambda image: rounded(answer(image), options.dtype.value))
            all_answered = show(asked, found.images, json=True)
        else:
            output = None if options.output is None else Path(options.output)
            rows = rows_for(output, options.dtype.value, resume=options.resume)
            try:
                all_answered = write_rows(
                    backend, found.images, rows, word="embedded", progress=options.progress
                )
            except KeyboardInterrupt:
                raise typer.Exit(INTERRUPTED) from None
    if not all_answered or found.unreadable:
        raise typer.Exit(1)


@contextmanager
def _backend(options: EmbedOptions, images: int) -> Iterator[Backend[Embedding]]:
    """What answers: a server with one client for all threads, or a bundle on this machine."""
    from pinnace.cli.classify.backends import JOIN_TIMEOUT
    from pinnace.cli.classify.job import Backend
    from pinnace.models.cpus import available_cpus

    if options.url is not None:
        from pinnace.clients.client import Client

        retries, retries_when_full = RETRIES_OF_MANY
        with Client(
            options.url, retries=retries, retries_when_full=retries_when_full, api_key=options.api_key
        ) as client:
            concurrency = options.concurrency or SERVER_CONCURRENCY
            yield Backend(lambda image: client.embed(image, model=options.model), concurrency, JOIN_TIMEOUT)
        return
    from pinnace.cli.classify.backends import bundle_backend

    threads = options.threads or 1
    concurrency = options.concurrency or max(1, available_cpus() // threads)
    with bundle_backend(
        _spec(options, threads, concurrency),
        use_profile=not options.no_profile,
        images=1 if options.json else images,
    ) as backend:
        yield backend


def _spec(options: EmbedOptions, threads: int, at_once: int = 1) -> ModelSpec:
    """The model, and how many images at once."""
    from pinnace.cli.bulk.model_spec import ModelSpec
    from pinnace.models.bundle.bundle import Bundle
    from pinnace.models.runtimes.base import RuntimeOptions

    assert options.bundle is not None
    return ModelSpec(
        Bundle.open(options.bundle),
        "embed",
        variant=options.variant,
        runtime=options.runtime,
        options=RuntimeOptions(threads, options.device, at_once),
    )
