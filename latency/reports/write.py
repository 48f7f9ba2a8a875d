"""Write a latency report as the ending of the file's name says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pinnace.latency.report import LatencyReport
from pinnace.latency.reports import markdown, page, spreadsheet, suite_markdown, suite_page
from pinnace.models.errors import UsageError
from pinnace.models.files import write_atomic

_FORMATS: dict[str, Callable[[LatencyReport], str]] = {
    ".html": lambda report: (suite_page if report.settings.suite else page).render(report),
    ".md": lambda report: (suite_markdown if report.settings.suite else markdown).render(report),
    ".csv": spreadsheet.render,
    ".json": lambda report: report.to_json().decode("utf-8"),
}


def check_ending(path: Path, endings: Iterable[str] = _FORMATS, what: str = "a report") -> None:
    """Check that a report can be written there, before anything is measured.

    Args:
        path: the file.
        endings: those that there are.
        what: the report, as the message names it.

    Raises:
        UsageError: the name ends in something else, or its folder does not exist.
    """
    if path.suffix not in endings:
        raise UsageError(
            f"{path} does not have the suffix of {what}",
            expected=", ".join(endings),
            got=path.suffix or "none",
        )
    if not path.parent.is_dir():
        raise UsageError(f"{path} cannot be written: there is no folder {path.parent}")


def write_report(report: LatencyReport, path: Path) -> None:
    """Write HTML, Markdown, CSV or JSON, under a temporary name that is moved into place.

    Raises:
        UsageError: the name ends in something else, or the file cannot be written.
    """
    check_ending(path)
    write_text(path, _FORMATS[path.suffix](report))


def write_text(path: Path, content: str) -> None:
    """Write a file whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        write_atomic(path, content.encode("utf-8", "replace"))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="choose another place") from None
