"""Exports the bundles of a suite that are not in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pinnace.latency.suites.suite import Suite, SuiteRow
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.errors import MissingDependency
from pinnace.models.install import install_line
from pinnace.models.photographs import photographs
from pinnace.models.progress import Progress
from pinnace.models.variant_name import VariantName


def export_row(
    row: SuiteRow, suite: Suite, variants: Sequence[str], path: Path, progress: Progress
) -> Bundle:
    """Export a row's network, as `pinnace export` does.

    Raises:
        MissingDependency: the packages of the export are not installed.
        PinnaceError: see `export_bundle`.
    """
    try:
        from pinnace.export import targets
        from pinnace.export.exporter import Evidence, export_bundle
        from pinnace.export.request import ExportRequest
        from pinnace.export.variant_selection import select
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"exporting {row.name} needs the package {error.name}", hint=install_line("export")
        ) from None
    target = targets.read(suite.target)
    # Random weights have no ranges worth finding; the package's own photographs do for them.
    chosen: dict[VariantName, None] = {}
    for name in variants:
        wanted = VariantName.parse(name)
        chosen |= dict.fromkeys(select(target, [wanted.format], [wanted.precision], calibrated=True).variants)
    request = ExportRequest(
        source=row.source,
        variants=tuple(chosen),
        opset=target.opset,
        input_size=row.edges,
        folder=str(suite.folder),
    )
    evidence = (
        Evidence(calibrate=photographs()[0].parent)
        if any("int8" in name.precision for name in chosen)
        else None
    )
    return export_bundle(request, target, path, evidence=evidence, progress=progress)
