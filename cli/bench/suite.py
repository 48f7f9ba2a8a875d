"""What `pinnace bench --suite` does with its options: the suite's own values stand where none is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pinnace.cli.bench.suite_export import export_row
from pinnace.cli.bench.table import turns
from pinnace.latency.report import BenchSettings, LatencyReport
from pinnace.latency.run import ALL, check_runtime
from pinnace.latency.scenarios import parse
from pinnace.latency.suites.run import Choice, run
from pinnace.latency.suites.suite import Suite, read
from pinnace.models.errors import UsageError
from pinnace.models.runtimes.base import RuntimeOptions


def bench_suite(
    name: str,
    folder: Path | None,
    settings: BenchSettings,
    *,
    variant: str | None,
    runtime: str | None,
    options: RuntimeOptions,
    progress: bool | None,
) -> LatencyReport:
    """Time a suite.

    Args:
        name: of the suite, or its TOML file.
        folder: where its bundles are kept; None for `NAME.suite` in the working directory.
        settings: what was asked for; the suite's own where `duration_s`, `min_queries` or `rounds` are 0 or
            there are no scenarios.
        variant: names with commas between them, or `all`; None for the suite's.
        runtime: a name, `all`, or None for the preferred one.
        options: threads and device.
        progress: whether to show how far it is; None means on a terminal only.

    Raises:
        UsageError: there is no such suite or runtime, or the folder cannot be written.
        CheckFailed: no row has figures.
    """
    suite = read(name)
    check_runtime(runtime)
    folder = folder or Path(f"{suite.name}.suite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror}", hint="--suite-folder DIR chooses another place"
        ) from None
    variants = suite.variants if variant in (None, ALL) else tuple(filter(None, variant.split(",")))
    chosen = _with_defaults(settings, suite)
    with turns(progress, len(suite.rows) * len(variants), chosen) as turn:
        return run(suite, Choice(variants, runtime, options, folder, export_row), chosen, turn)


def _with_defaults(settings: BenchSettings, suite: Suite) -> BenchSettings:
    return replace(
        settings,
        suite=suite.name,
        scenarios=settings.scenarios or tuple(each.name for each in parse(",".join(suite.scenarios))),
        duration_s=settings.duration_s or suite.duration_s,
        min_queries=settings.min_queries or suite.min_queries,
        rounds=settings.rounds or suite.rounds,
    )
