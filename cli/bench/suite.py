"""`pinnace bench --suite`: reads the suite, makes the folder of its bundles, and times them."""

from __future__ import annotations

from pathlib import Path

from pinnace.cli.bench.options import BenchOptions
from pinnace.cli.bench.suite_export import export_row
from pinnace.cli.bench.table import progress_of
from pinnace.latency.openers import ALL, check_runtime
from pinnace.latency.report import LatencyReport
from pinnace.latency.suites.run import Choice, run
from pinnace.latency.suites.suite import read
from pinnace.models.errors import UsageError


def measure_suite(options: BenchOptions, name: str, progress: bool | None) -> LatencyReport:
    """Time a suite.

    Args:
        options: what was asked for; the suite's own values stand where nothing was given.
        name: of the suite, or its TOML file.
        progress: whether to show how far it is; None means on a terminal only.

    Raises:
        UsageError: the suite or the runtime is unknown, or the folder cannot be written.
        CheckFailed: no row has figures.
    """
    suite = read(name)
    check_runtime(options.runtime)
    folder = options.suite_folder or Path(f"{suite.name}.suite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror}", hint="--suite-folder DIR chooses another place"
        ) from None
    variants = suite.variants
    if options.variant not in (None, ALL):
        variants = tuple(filter(None, options.variant.split(",")))
    settings = options.settings(suite)
    choice = Choice(variants, options.runtime, options.runtime_options(), folder, export_row)
    with progress_of(progress, len(suite.rows) * len(variants), settings) as step:
        return run(suite, choice, settings, step)
