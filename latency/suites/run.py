"""Times every network of a suite, one after the other; a failure is reported in the row of its network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from pinnace.latency.openers import Opener, bundle_openers
from pinnace.latency.report import LatencyReport
from pinnace.latency.result import Failure, Result
from pinnace.latency.result_parts import Caveat
from pinnace.latency.run import bench
from pinnace.latency.settings import BenchSettings
from pinnace.latency.suites.bundles import Export, bundle_of, problem_of
from pinnace.latency.suites.suite import Suite
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import CheckFailed, PinnaceError
from pinnace.models.progress import Event, Progress
from pinnace.models.runtimes.base import RuntimeOptions

INTERRUPTED = Caveat("interrupted", "the bench was interrupted, so some rows have no figures")


@dataclass(frozen=True)
class Choice:
    """What is timed of each network.

    Attributes:
        variants: names; several are several rows.
        runtime: a name, `all`, or None for the preferred one.
        options: threads and device.
        folder: where the bundles are kept.
        export: makes the bundles that are not there.
    """

    variants: tuple[str, ...]
    runtime: str | None
    options: RuntimeOptions
    folder: Path
    export: Export


def run(suite: Suite, choice: Choice, settings: BenchSettings, progress: Progress) -> LatencyReport:
    """Export the bundles that are missing, and time all of them.

    Args:
        suite: the networks.
        choice: what is timed of each.
        settings: for how long; `batch` is that of the batch mode, 0 for its default.
        progress: called before each step of an export, and before each round with its seconds.

    Returns:
        The report. Interrupted, it has the rows that were timed before, and the warning `INTERRUPTED`.

    Raises:
        CheckFailed: no row has figures.
        KeyboardInterrupt: it was interrupted before the first of them.
    """
    made: list[LatencyReport] = []
    failures: list[Failure] = []
    planned = [(row.name, scenario) for row in suite.rows for scenario in settings.scenarios]
    reached = 0  # how many of them have run
    try:
        for place, row in enumerate(suite.rows, start=1):
            where = f"{place}/{len(suite.rows)} {row.name}"

            def report_step(event: Event, where: str = where) -> None:
                progress(replace(event, detail=": ".join(filter(None, (where, event.detail)))))

            try:
                with redirect_stdout(sys.stderr):
                    bundle = bundle_of(row, suite, choice.variants, choice.folder, choice.export, report_step)
            except Exception as error:
                failures.append(Failure(row.name, None, problem_of(error)))
                reached += len(settings.scenarios)
                continue
            for scenario in settings.scenarios:
                openers, problems = _openers(bundle, choice, _alone(settings, scenario))
                failures += [Failure(row.name, scenario, problem) for problem in problems]
                try:
                    if openers:
                        done = bench(openers, _alone(settings, scenario), report_step)
                        made.append(done)
                        failures += [replace(failure, model=row.name) for failure in done.failures]
                except Exception as error:
                    failures.append(Failure(row.name, scenario, problem_of(error)))
                reached += 1
    except KeyboardInterrupt:
        if not made:
            raise
        failures += [Failure(*each, "interrupted") for each in planned[reached:]]
    if not made:
        raise CheckFailed(
            f"no row of the suite {suite.name} has figures", got=f"{failures[0].model}: {failures[0].message}"
        )
    report = _merged(made, suite, settings, failures)
    if reached < len(planned):
        report = replace(report, warnings=(*report.warnings, INTERRUPTED))
    return report


def _alone(settings: BenchSettings, scenario: str) -> BenchSettings:
    """The settings of one scenario: single-stream is batch 1, whatever the batch of the others."""
    batch = 1 if scenario == "single-stream" else settings.batch
    return replace(settings, scenarios=(scenario,), batch=batch)


def _openers(bundle: Bundle, choice: Choice, settings: BenchSettings) -> tuple[list[Opener], list[str]]:
    """What opens each pair of a variant and a runtime that works here, and why others do not."""
    openers: list[Opener] = []
    problems: list[str] = []
    for variant in choice.variants:
        try:
            openers += bundle_openers(bundle, variant, choice.runtime, choice.options, settings)
        except PinnaceError as error:
            problems.append(problem_of(error))
    return openers, problems


def _merged(
    made: Sequence[LatencyReport], suite: Suite, settings: BenchSettings, failures: Sequence[Failure]
) -> LatencyReport:
    """One report of many, in the order of the suite's rows within each scenario."""
    results: list[Result] = [row for report in made for row in report.results]
    order = {name: place for place, name in enumerate(settings.scenarios)}
    results.sort(key=lambda row: order[row.scenario])
    warnings: dict[Caveat, None] = {warning: None for report in made for warning in report.warnings}
    first = made[0]
    return replace(
        first,
        settings=settings,
        results=tuple(results),
        warnings=tuple(warnings),
        failures=tuple(failures),
        rows={row.name: row.note for row in suite.rows},
    )
