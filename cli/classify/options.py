"""The options of `pinnace classify`, and what follows from them: the format of rows, and what answers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinnace.cli.bundles import bundle_folder
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
    VariantOption,
    check_ray,
    check_who_answers,
    server_url,
)

if TYPE_CHECKING:
    from pinnace.cli.bulk.model_spec import ModelSpec
    from pinnace.cli.classify.job import Backend
    from pinnace.cli.classify.row_formats import RowFormat
    from pinnace.models.answer import Answer
    from pinnace.models.bundle.bundle import Bundle

# Enough for a server of many CPUs; a request that waits costs the client next to nothing.
SERVER_CONCURRENCY = 16

# Retries where the connection fails, and where the server is full. A run of hours survives a restart of the
# server and lets others go first; a user who waits for one image gets the error soon.
RETRIES_OF_MANY = (6, 30)
_RETRIES_OF_FEW = (2, 2)


class RowFormatName(str, Enum):
    """How rows are written."""

    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


@dataclass(frozen=True)
class ClassifyOptions:
    """What the command line says; None where it says nothing."""

    images: ImagesArgument
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Classify with this bundle, in this process.",
            metavar="BUNDLE",
            parser=bundle_folder,
            show_default=False,
        ),
    ] = None
    url: Annotated[
        str | None,
        typer.Option(
            help="Classify with a server, such as http://localhost:3000.",
            callback=server_url,
            show_default=False,
        ),
    ] = None
    api_key: ApiKeyOption = None
    model: ModelOption = None
    top_k: Annotated[int | None, typer.Option(min=1, help="How many classes to show.", show_default="5")] = (
        None
    )
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Score from which on a label counts as true, where several may be.",
            show_default="the bundle's",
        ),
    ] = None
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write rows to this file, .jsonl or .csv.",
            show_default=False,
        ),
    ] = None
    format: Annotated[
        RowFormatName | None,
        typer.Option(
            help="The format of the rows.",
            metavar="jsonl|csv|parquet",
            show_default="the suffix of --output, else jsonl; parquet with --ray",
        ),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the --output file of an earlier run.")
    ] = False
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images at once, where rows are written.",
            show_default=f"{SERVER_CONCURRENCY} with --url, the CPUs at hand with --bundle",
        ),
    ] = None
    variant: VariantOption = None
    runtime: RuntimeOption = None
    device: OnDeviceOption = None
    no_profile: NoProfileOption = False
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="CPU threads of one call.", show_default="the CPUs at hand; 1 where rows are written"
        ),
    ] = None
    ray: RayOption = None
    column: ColumnOption = None
    shard_size: ShardSizeOption = None
    progress: ProgressOption = None
    json: Json = False

    @cached_property
    def opened(self) -> Bundle:
        """The bundle, read once: where signatures are checked, that reads every file.

        Raises:
            PinnaceError: it is not one; see `Bundle.open`.
        """
        from pinnace.models.bundle.bundle import Bundle

        assert self.bundle is not None
        return Bundle.open(self.bundle)

    def spec(self, threads: int, at_once: int = 1) -> ModelSpec:
        """The model, and what is asked of it.

        Args:
            threads: CPU threads of one call.
            at_once: how many images at once.

        Raises:
            PinnaceError: the bundle is not one.
        """
        from pinnace.cli.bulk.model_spec import ModelSpec
        from pinnace.models.runtimes.base import RuntimeOptions

        return ModelSpec(
            self.opened,
            "classify",
            self.top_k,
            self.variant,
            self.runtime,
            RuntimeOptions(threads, self.device, at_once),
            self.threshold,
        )

    @property
    def output_file(self) -> Path | None:
        """The file of the rows, where there is one."""
        return None if self.output is None else Path(self.output)

    @property
    def writes_rows(self) -> bool:
        """Whether each image becomes a row, rather than bars or a JSON list."""
        asked = self.output is not None or self.format is not None
        return not self.json and (asked or any(Path(path).is_dir() for path in self.images))

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
        if (self.format is RowFormatName.csv) if self.ray else (self.format is RowFormatName.parquet):
            raise UsageError(
                "with --ray the answers are written as parquet or jsonl, without it as jsonl or csv",
                got=self.format,
            )
        if self.json and (self.output or self.format):
            raise UsageError("--json prints one list; --output and --format write rows", hint="leave one out")
        if self.resume and self.output is None:
            raise UsageError("--resume continues a file", hint="name it with --output")

    def row_format(self) -> RowFormat[Answer] | None:
        """How rows are written, or None where there are none.

        Raises:
            UsageError: the name of the output does not tell.
        """
        from pinnace.cli.classify.row_formats import Csv, JsonLines
        from pinnace.models.errors import UsageError
        from pinnace.models.predictions import DEFAULT_TOP_K

        if not self.writes_rows:
            return None
        output = self.output_file
        suffix = output.suffix.lower() if output is not None else JsonLines.suffixes[0]
        if self.format is RowFormatName.csv or (self.format is None and suffix in Csv.suffixes):
            return Csv(self.top_k or DEFAULT_TOP_K, several_labels=self._several_labels())
        if self.format is RowFormatName.jsonl or suffix in JsonLines.suffixes:
            return JsonLines()
        raise UsageError(
            f"the format of the rows does not follow from the name {self.output}",
            expected=f"a file that ends in {', '.join((*JsonLines.suffixes, *Csv.suffixes))}",
            hint="or choose one with --format",
        )

    def _several_labels(self) -> bool:
        """Whether several labels may be true: the bundle says so, or somebody who gives a threshold."""
        if self.bundle is None:
            return self.threshold is not None
        return self.opened.outputs.several_labels

    def backend(self, images: int) -> AbstractContextManager[Backend[Answer]]:
        """What answers for so many images: the server, or the bundle on this machine.

        Raises:
            UsageError: the URL is not one, or the key cannot be sent.
            PinnaceError: the bundle cannot be opened; see `Classifier`.
        """
        from pinnace.cli.classify.backends import bundle_backend, server_backend
        from pinnace.models.cpus import available_cpus

        if self.url is not None:
            retries, retries_when_full = RETRIES_OF_MANY if self.writes_rows else _RETRIES_OF_FEW
            return server_backend(
                self.url,
                self.top_k,
                api_key=self.api_key,
                retries=retries,
                retries_when_full=retries_when_full,
                concurrency=(self.concurrency or SERVER_CONCURRENCY) if self.writes_rows else 1,
                model=self.model,
                threshold=self.threshold,
            )
        threads = self.threads or (1 if self.writes_rows else available_cpus())
        at_once = (self.concurrency or max(1, available_cpus() // threads)) if self.writes_rows else 1
        return bundle_backend(
            self.spec(threads, at_once),
            use_profile=not self.no_profile,
            images=images if self.writes_rows else 1,
        )
