"""`pinnace bench`: how fast a bundle answers on this machine, or a server behind a URL."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinnace.cli.options import Json, ProgressOption, ThreadsOption

if TYPE_CHECKING:
    from pinnace.latency.report import BenchSettings, LatencyReport
    from pinnace.models.bundle.bundle import Bundle

DURATION_S = 10.0
ROUNDS = 5
MIN_QUERIES = 100


def bench(
    target: Annotated[
        str | None,
        typer.Argument(
            help="A bundle's folder, or a server, such as http://localhost:3000.",
            metavar="BUNDLE|URL",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="Instead of one bundle, many networks, exported where they are not there yet: classic, or a "
            "TOML file.",
            metavar="NAME|FILE.toml",
            show_default=False,
        ),
    ] = None,
    suite_folder: Annotated[
        Path | None,
        typer.Option(help="Where the suite's bundles are kept.", metavar="DIR", show_default="NAME.suite"),
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
    scenario: Annotated[
        str | None,
        typer.Option(
            help="MLPerf's scenarios, with commas between them, or all: "
            "single-stream, multi-stream, server, offline.",
            show_default="single-stream; the suite's",
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="A variant, all, or eager: the source in torch.", show_default="the first that runs here"
        ),
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(help="A runtime, or all.", show_default="the preferred one")
    ] = None,
    threads: ThreadsOption = None,
    provider: Annotated[
        str | None, typer.Option(help="Where to run: cpu or cuda.", show_default="what the runtime prefers")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Images of one call.", show_default="1; 8 in multi-stream and offline"),
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds for each row.", show_default=f"{DURATION_S:g}")
    ] = None,
    min_queries: Annotated[
        int | None, typer.Option(min=1, help="Fewest queries for each row.", show_default=str(MIN_QUERIES))
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Turns of each row.", show_default=str(ROUNDS))
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of images and of the arrivals.")] = 1,
    mlperf: Annotated[
        bool, typer.Option("--mlperf", help="MLPerf's durations, counts and seeds: ten minutes for each row.")
    ] = False,
    end_to_end: Annotated[
        bool, typer.Option("--end-to-end", help="Time decoding and preprocessing too, from JPEG bytes.")
    ] = False,
    max_p99: Annotated[
        float,
        typer.Option(
            min=0.001, help="Milliseconds that the 99th percentile of the server scenario may take."
        ),
    ] = 100.0,
    fail_above: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Exit with 1 where a 99th percentile takes more milliseconds.",
            show_default="never",
        ),
    ] = None,
    report: Annotated[
        list[Path] | None,
        typer.Option(
            help="Write a report: .html, .json, .md or .csv; may be repeated.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Run on another machine, over ssh: ssh://user@host or ssh://user@host:port.",
            metavar="URL",
            show_default=False,
        ),
    ] = None,
    device_python: Annotated[
        str | None,
        typer.Option(
            help="The Python of the device that has pinnace.",
            metavar="PATH",
            show_default="its pinnace on the PATH",
        ),
    ] = None,
    progress: ProgressOption = None,
    json: Json = False,
) -> None:
    """Measure latency and throughput of a bundle on this machine, or of a server, under MLPerf's scenarios.

    The inputs are the bundle's golden ones, or photographs that a server is asked about.
    Every latency counts: none is clipped or left out. With --suite there is a row for each network, and what
    others have published stands beside it.
    """
    from pinnace.cli.bench.suite import bench_suite
    from pinnace.cli.bench.suite_table import print_suite
    from pinnace.cli.bench.table import print_report, turns
    from pinnace.latency.report import BenchSettings
    from pinnace.latency.reports.write import check_ending, write_report
    from pinnace.latency.run import bench as measure
    from pinnace.latency.run import bundle_openers, server_openers
    from pinnace.latency.scenarios import ALL, MLPERF_SECONDS, parse
    from pinnace.models.bundle.bundle import Bundle
    from pinnace.models.errors import CheckFailed, UsageError
    from pinnace.models.runtimes.base import RuntimeOptions

    for path in report or ():
        check_ending(path)
    if (target is None) == (suite is None):
        raise UsageError(
            "there is either one thing to time or a suite", expected="BUNDLE, URL or --suite NAME"
        )
    if suite is None and suite_folder is not None:
        raise UsageError("--suite-folder is for --suite")
    own = () if suite and scenario is None else parse(scenario or "single-stream")
    served = target is not None and target.startswith(("http://", "https://"))
    chosen = (variant, runtime, threads, provider, batch)
    if served and (end_to_end or any(each is not None for each in chosen)):
        raise UsageError(
            "--variant, --runtime, --threads, --provider, --batch and --end-to-end choose for a bundle; "
            "a server has chosen"
        )
    if device is not None and (served or suite is not None):
        raise UsageError("--device runs one bundle there; a suite or a server is timed from this machine")
    if device is None and device_python is not None:
        raise UsageError("--device-python is for --device")
    options = RuntimeOptions(device=provider) if threads is None else RuntimeOptions(threads, provider)
    settings = BenchSettings(
        target=target or f"--suite {suite}",
        scenarios=tuple(each.name for each in own),
        duration_s=duration or (MLPERF_SECONDS if mlperf else 0 if suite else DURATION_S),
        min_queries=min_queries
        or (max(each.min_queries for each in own or ALL.values()) if mlperf else 0 if suite else MIN_QUERIES),
        seed=seed,
        mlperf=mlperf,
        rounds=rounds or (1 if mlperf else 0 if suite else ROUNDS),
        end_to_end=end_to_end,
        max_p99_ms=max_p99,
        threads=threads,
        batch=batch or 0,
        provider=provider,
    )
    if suite is not None:
        made = bench_suite(
            suite,
            suite_folder,
            settings,
            variant=variant,
            runtime=runtime,
            options=options,
            progress=progress,
        )
    elif device is not None:
        assert target is not None
        made = _on_device(device, device_python, Bundle.open(target), settings, variant, runtime, progress)
    else:
        assert target is not None
        if served:
            openers = server_openers(target, api_key)
        else:
            openers = bundle_openers(Bundle.open(target), variant, runtime, options, settings)
        with turns(progress, len(openers), settings) as turn:
            made = measure(openers, settings, turn)
    for path in report or ():
        write_report(made, path)
    if json:
        typer.echo(made.to_json(samples=False), nl=False)
    elif suite is not None:
        print_suite(made)
    else:
        print_report(made)
    if any(warning.code == "interrupted" for warning in made.warnings):
        raise KeyboardInterrupt
    slow = [row for row in made.results if fail_above is not None and row.p99_ms > fail_above]
    if slow:
        worst = max(slow, key=lambda row: row.p99_ms)
        raise CheckFailed(
            f"the 99th percentile of {worst.row} under {worst.scenario} is too high",
            expected=f"at most {fail_above:g} ms",
            got=f"{worst.p99_ms:.2f} ms",
        )


def _on_device(
    device: str,
    python: str | None,
    bundle: Bundle,
    settings: BenchSettings,
    variant: str | None,
    runtime: str | None,
    progress: bool | None,
) -> LatencyReport:
    from pinnace.cli.console import err, plain
    from pinnace.latency.remote import bench as remote
    from pinnace.latency.remote.ssh import Address, Ssh

    job = remote.Job(
        bundle=bundle,
        variant=variant,
        runtime=runtime,
        end_to_end=settings.end_to_end,
        arguments=remote.arguments(settings, variant, runtime),
        python=python,
    )
    return remote.bench(
        Ssh(Address.parse(device)),
        job,
        lambda words: err().print(f"[yellow]note:[/] {plain(words)}", soft_wrap=True),
        progress=sys.stderr.isatty() if progress is None else progress,
    )
