"""`pinnace bench --images`: the accuracy of the rows, beside their speed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pinnace.cli.progress import bars
from pinnace.latency.report import LatencyReport
from pinnace.latency.result_parts import Caveat
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import MissingDependency
from pinnace.models.install import install_line


def with_accuracy(
    report: LatencyReport, bundle: Bundle, images: Path, progress: bool | None
) -> LatencyReport:
    """Count right answers of each variant in each runtime that was timed, as `pinnace eval` does.

    Raises:
        UsageError: the images do not fit the model.
        MissingDependency: the packages that count are not installed.
    """
    try:
        from pinnace.export.validation.accuracy import evaluate_bundle
        from pinnace.export.validation.photographs import bulk_options
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"--images needs the package {error.name}", hint=install_line("export")
        ) from None
    timed = {(row.variant, row.runtime) for row in report.results}
    names = {variant.name for variant in bundle.manifest.variants}
    variants = sorted({variant for variant, _ in timed} & names)
    if not variants:
        return report
    runtimes = sorted({runtime for variant, runtime in timed if variant in names})
    with bars(progress) as show:
        counted, problems = evaluate_bundle(
            bundle, images, variants=variants, runtimes=runtimes, options=bulk_options(1), progress=show
        )
    found = {(row.variant, row.runtime): row.accuracy for row in counted}
    rows = tuple(replace(row, accuracy=found.get((row.variant, row.runtime))) for row in report.results)
    notes = tuple(Caveat("accuracy", problem) for problem in problems)
    return replace(report, results=rows, warnings=(*report.warnings, *notes))
