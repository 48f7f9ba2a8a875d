"""The options of `pinnace bench`, and the one place where those that were not given get their values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinnace.cli.bundles import bundle_or_server
from pinnace.cli.options import (
    ApiKeyOption,
    DeviceOption,
    DevicePythonOption,
    InstallOption,
    NoProfileOption,
    ThreadsOption,
)

if TYPE_CHECKING:
    from pinnace.latency.settings import BenchSettings
    from pinnace.latency.suites.suite import Suite
    from pinnace.models.runtimes.base import RuntimeOptions

SCENARIO = "single-stream"
DURATION_S = 10.0
MIN_QUERIES = 100
ROUNDS = 5


@dataclass(frozen=True)
class BenchOptions:
    """What the command line says; None where it says nothing."""

    target: Annotated[
        str | None,
        typer.Argument(
            help="A bundle's folder or URL, or a server, such as http://localhost:3000.",
            metavar="BUNDLE|URL",
            callback=bundle_or_server,
            show_default=False,
        ),
    ] = None
    suite: Annotated[
        str | None,
        typer.Option(
            help="Time many networks instead of one bundle, and export those that are missing: classic, or "
            "a TOML file.",
            metavar="NAME|FILE.toml",
            show_default=False,
        ),
    ] = None
    suite_folder: Annotated[
        Path | None,
        typer.Option(help="Where the suite's bundles are kept.", metavar="DIR", show_default="NAME.suite"),
    ] = None
    api_key: ApiKeyOption = None
    scenario: Annotated[
        str | None,
        typer.Option(
            help="MLPerf's scenarios, separated by commas, or all: "
            "single-stream, multi-stream, server, offline.",
            show_default="single-stream; the suite's",
        ),
    ] = None
    variant: Annotated[
        str | None,
        typer.Option(
            help="A variant, all, or eager: the source's network in torch.",
            show_default="the first that runs here",
        ),
    ] = None
    runtime: Annotated[
        str | None, typer.Option(help="A runtime, or all.", show_default="the preferred one")
    ] = None
    no_profile: NoProfileOption = False
    threads: ThreadsOption = None
    provider: Annotated[
        str | None,
        typer.Option(
            help="Where to run: cpu, cuda, gpu, npu or auto.", show_default="what the runtime prefers"
        ),
    ] = None
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Images per call.", show_default="1; 8 in multi-stream and offline"),
    ] = None
    duration: Annotated[
        float | None,
        typer.Option(min=0.1, help="Least seconds for each row.", show_default=f"{DURATION_S:g}"),
    ] = None
    min_queries: Annotated[
        int | None, typer.Option(min=1, help="Fewest queries for each row.", show_default=str(MIN_QUERIES))
    ] = None
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds in which every row runs once.", show_default=str(ROUNDS))
    ] = None
    seed: Annotated[int, typer.Option(min=0, help="Seed of the order of images and of the arrivals.")] = 1
    mlperf: Annotated[
        bool,
        typer.Option("--mlperf", help="Use MLPerf's durations, counts and seeds: ten minutes for each row."),
    ] = False
    end_to_end: Annotated[
        bool, typer.Option("--end-to-end", help="Time decoding and preprocessing too, from JPEG bytes.")
    ] = False
    cold: Annotated[
        bool,
        typer.Option(
            "--cold",
            help="Also start each row in fresh processes, the page cache dropped where that is allowed: time "
            "to load, first and warm call, and memory.",
        ),
    ] = False
    soak: Annotated[
        str | None,
        typer.Option(
            help="Run each row for so long, such as 10m, and report throughput, clocks and temperature over "
            "time, and when throttling begins.",
            metavar="TIME",
            show_default=False,
        ),
    ] = None
    static: Annotated[
        bool,
        typer.Option(
            "--static",
            help="Measure the source's network in eager torch beside its static forms: TorchScript, "
            "torch.compile, torch.export, AOTInductor, ONNX.",
        ),
    ] = False
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure every combination of these, and draw the curves; repeatable.",
            metavar="batch=1,2,4 threads=1,2",
            show_default=False,
        ),
    ] = None
    images: Annotated[
        Path | None,
        typer.Option(
            help="Count right answers too: one folder of images for each class.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None
    max_p99: Annotated[
        float,
        typer.Option(min=0.001, help="Bound of the 99th percentile in the server scenario, in milliseconds."),
    ] = 100.0
    fail_above: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Exit with 1 where a 99th percentile is above so many milliseconds.",
            show_default="never",
        ),
    ] = None
    report: Annotated[
        list[Path] | None,
        typer.Option(
            help="Write a report: .html, .json, .md or .csv; repeatable.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None
    device: DeviceOption = None
    device_python: DevicePythonOption = None
    install: InstallOption = False

    @property
    def is_server(self) -> bool:
        """Whether the target is the URL of a server."""
        return self.target is not None and self.target.startswith(("http://", "https://"))

    def check(self) -> None:
        """Refuse options that exclude one another.

        Raises:
            UsageError: they do.
        """
        from pinnace.models.errors import UsageError

        if self.target is None and self.suite is None:
            raise UsageError("nothing says what to measure", hint="a bundle's folder, a URL, or --suite NAME")
        if self.target is not None and self.suite is not None:
            raise UsageError("--suite brings its own bundles", hint=f"leave out {self.target} or --suite")
        if self.suite is None and self.suite_folder is not None:
            raise UsageError("--suite-folder needs --suite")
        if self.cold and (self.is_server or self.suite is not None):
            raise UsageError("--cold starts a bundle; it takes neither a suite nor a URL")
        if self.sweep:
            if self.is_server or self.suite is not None:
                raise UsageError("--sweep measures a bundle; it takes neither a suite nor a URL")
            if self.cold or self.batch is not None or self.threads is not None:
                raise UsageError("--sweep has its own batches and threads, and goes without --cold")
        if self.static:
            others = (self.suite, self.device, self.variant, self.runtime, self.sweep)
            if self.is_server or self.cold or any(each is not None for each in others):
                raise UsageError(
                    "--static has its own rows, of a bundle and here; it takes no URL, --suite, --device, "
                    "--variant, --runtime, --sweep or --cold"
                )
        if self.images is not None and (self.is_server or self.suite is not None or self.device is not None):
            raise UsageError("--images counts right answers here; it takes no --suite, URL or --device")
        if self.soak is not None:
            if self.suite is not None or self.mlperf or self.duration is not None or self.rounds is not None:
                raise UsageError(
                    "--soak says how long; it takes no --suite, --mlperf, --duration or --rounds"
                )
            if "server" in (self.scenario or "") or self.scenario == "all":
                raise UsageError(
                    "--soak runs at full load; the server scenario looks for a rate",
                    expected="--scenario single-stream, multi-stream or offline",
                )
        of_bundles = (self.variant, self.runtime, self.threads, self.provider, self.batch)
        if self.is_server and (self.end_to_end or any(value is not None for value in of_bundles)):
            raise UsageError(
                "--variant, --runtime, --threads, --provider, --batch and --end-to-end apply to a bundle; "
                "the target is a server",
                hint="set them where the server is started",
            )
        if self.device is not None and (self.is_server or self.suite is not None):
            raise UsageError("--device measures a bundle on the device; it takes neither a suite nor a URL")
        if self.device is None and self.device_python is not None:
            raise UsageError(
                "--device-python is about another machine", hint="name it with --device ssh://user@host"
            )
        if self.device is None and self.install:
            raise UsageError(
                "--install is about another machine", hint="name it with --device ssh://user@host"
            )

    def runtime_options(self) -> RuntimeOptions:
        """Threads and device of a runtime; the runtime's own where they were not given."""
        from pinnace.models.runtimes.base import RuntimeOptions

        if self.threads is None:
            return RuntimeOptions(device=self.provider)
        return RuntimeOptions(self.threads, self.provider)

    def settings(self, suite: Suite | None = None) -> BenchSettings:
        """Every value: as given, else MLPerf's with `--mlperf`, else the suite's, else the default.

        Raises:
            UsageError: a scenario is unknown.
        """
        from pinnace.latency.durations import parse_duration
        from pinnace.latency.scenarios import ALL, MLPERF_SECONDS, parse
        from pinnace.latency.settings import BenchSettings
        from pinnace.latency.sweep import parse_sweep

        duration_s, min_queries, rounds, names = DURATION_S, MIN_QUERIES, ROUNDS, SCENARIO
        if suite is not None:
            duration_s, min_queries, rounds = suite.duration_s, suite.min_queries, suite.rounds
            names = ",".join(suite.scenarios)
        scenarios = parse(self.scenario or names)
        soak_s = None if self.soak is None else parse_duration(self.soak, "--soak")
        if soak_s is not None:
            duration_s, rounds = soak_s, 1
        if self.mlperf:
            # A suite's own scenarios get the count that is enough for any of them.
            counted = ALL.values() if suite is not None and self.scenario is None else scenarios
            duration_s, rounds = MLPERF_SECONDS, 1
            min_queries = max(scenario.min_queries for scenario in counted)
        return BenchSettings(
            target=self.target or f"--suite {self.suite}",
            scenarios=tuple(scenario.name for scenario in scenarios),
            duration_s=self.duration or duration_s,
            min_queries=self.min_queries or min_queries,
            seed=self.seed,
            mlperf=self.mlperf,
            rounds=self.rounds or rounds,
            end_to_end=self.end_to_end,
            max_p99_ms=self.max_p99,
            threads=self.threads,
            batch=self.batch or 0,
            provider=self.provider,
            suite=None if suite is None else suite.name,
            cold=self.cold,
            soak_s=soak_s,
            sweep=parse_sweep(self.sweep or ()),
            images=None if self.images is None else str(self.images),
        )
