"""An index over many reports: which device was measured when, and each model on all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from pinnace.latency.numbers import number
from pinnace.latency.report import LatencyReport, read
from pinnace.latency.reports import charts, facts, suite
from pinnace.latency.reports.charts import LABEL, Figure, cut
from pinnace.latency.reports.html import document, figure, grid, warnings
from pinnace.latency.reports.svg import Markup, tag, text
from pinnace.latency.result import Result
from pinnace.models.errors import UsageError

_DRAWN = 40  # bars of one picture


@dataclass(frozen=True)
class IndexEntry:
    """One report of a folder.

    Attributes:
        file: where it stands.
        page: where its page is written, beside it.
        report: what it says.
    """

    file: Path
    page: Path
    report: LatencyReport


@dataclass(frozen=True)
class Collection:
    """The reports of a folder.

    Attributes:
        entries: those that can be read, the oldest first.
        damaged: why the others cannot.
    """

    entries: tuple[IndexEntry, ...]
    damaged: tuple[str, ...]


def collect(folder: Path, index: Path) -> Collection:
    """Read every report of a folder and of the folders in it; other JSON files are named as damaged.

    Raises:
        UsageError: the folder does not exist or has no reports.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", expected="a folder with reports of pinnace bench")
    entries, damaged = [], []
    for file in sorted(folder.rglob("*.json")):
        if any(part.startswith(".") for part in file.relative_to(folder).parts):
            continue
        try:
            report = read(file)
        except UsageError as error:
            damaged.append(error.message)
            continue
        page = file.with_suffix(".html")
        if page.absolute() == index.absolute():
            page = file.with_suffix(".report.html")
        entries.append(IndexEntry(file, page, report))
    if not entries:
        raise UsageError(
            f"{folder} has no latency reports",
            expected="files that `pinnace bench --report FILE.json` wrote",
            got="; ".join(damaged) or "no JSON files",
        )
    entries.sort(key=lambda entry: (entry.report.created, str(entry.file)))
    return Collection(tuple(entries), tuple(damaged))


def render(found: Collection, index: Path) -> str:
    """The index as one HTML document.

    Args:
        found: the reports.
        index: where the page will be written; its links are relative to that.
    """
    devices = dict.fromkeys(entry.report.device.name for entry in found.entries)
    days = sorted({entry.report.created[:10] for entry in found.entries})
    title = f"{_count(len(found.entries), 'latency report')} of {_count(len(devices), 'device')}"
    content = [
        tag("h1", text(title)),
        tag("p", text(days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"), class_="under"),
        warnings([f"left out: {problem}" for problem in found.damaged]),
        _reports(found.entries, index),
    ]
    single: list[tuple[IndexEntry, Result]] = []
    for model, rows in _by_model(found.entries).items():
        if len({entry.file for entry, _ in rows}) == 1:
            single += rows
            continue
        content += [tag("h2", text(model)), _rows(rows, index)]
        for scenario in dict.fromkeys(row.scenario for _, row in rows):
            content.append(figure(bars([pair for pair in rows if pair[1].scenario == scenario])))
    if single:
        content += [tag("h2", "Models in one report only"), _rows(single, index, models=True)]
    return document(title, content)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _link(entry: IndexEntry, index: Path, content: str) -> Markup:
    where = os.path.relpath(entry.page.absolute(), index.absolute().parent)
    return tag("a", text(content), href=quote(where.replace(os.sep, "/")))


def _wrapped(content: Markup) -> Markup:
    """A cell that is text among cells that are figures."""
    return tag("span", content, class_="words")


def _reports(entries: Sequence[IndexEntry], index: Path) -> Markup:
    lines = []
    for entry in reversed(entries):
        report = entry.report
        models = list(dict.fromkeys(row.model for row in report.results))
        what = f"{report.settings.suite} suite" if report.settings.suite else ", ".join(models) or "nothing"
        messages = suite.warnings(report) if report.settings.suite else facts.warnings(report)
        cells = [
            _link(entry, index, entry.page.stem),
            text(_when(report)),
            _wrapped(text(report.device.name)),
            _wrapped(text(what)),
            text(str(len(report.results))),
            text(str(len(messages)) if messages else ""),
        ]
        lines.append(cells)
    return grid(["report", "UTC", "device", "what", "rows", "warnings"], lines)


def _when(report: LatencyReport) -> str:
    return report.created[:16].replace("T", " ")


def _by_model(entries: Sequence[IndexEntry]) -> dict[str, list[tuple[IndexEntry, Result]]]:
    found: dict[str, list[tuple[IndexEntry, Result]]] = {}
    for entry in entries:
        for row in entry.report.results:
            found.setdefault(row.model, []).append((entry, row))
    return dict(sorted(found.items()))


def _rows(rows: Sequence[tuple[IndexEntry, Result]], index: Path, *, models: bool = False) -> Markup:
    lines = []
    for entry, row in rows:
        where = text(f"{entry.report.device.name}, ") + _link(entry, index, _when(entry.report))
        cells = [text(row.model), _wrapped(where)] if models else [where]
        cells += [text(row.row), text(f"{row.scenario}, {row.batch}")]
        cells += [text(number(value)) for value in (row.p50_ms, row.p99_ms, row.throughput)]
        lines.append(cells)
    head = ["device", "variant", "scenario, batch", "p50 ms", "p99 ms", "images/s"]
    return grid(["model", *head] if models else head, lines)


def bars(rows: Sequence[tuple[IndexEntry, Result]]) -> Figure:
    """The rows of one model and scenario on every device and date, the fastest first."""
    fastest = sorted(rows, key=lambda pair: pair[1].p50_ms)[:_DRAWN]
    rows_differ = len({row.row for _, row in rows}) > 1
    batches_differ = len({row.batch for _, row in rows}) > 1
    named = []
    for entry, row in fastest:
        what = row.row * rows_differ + f" x{row.batch}" * batches_differ
        named.append(replace(row, variant=_name(entry, what.strip()), runtime=""))
    drawn = charts.bars(named)
    caption = drawn.caption + " The fastest is on top."
    if len(rows) > _DRAWN:
        caption += f" The {_DRAWN} fastest of {len(rows)} rows are drawn."
    return replace(drawn, title=f"{rows[0][1].model}, {rows[0][1].scenario}", caption=caption)


def _name(entry: IndexEntry, what: str) -> str:
    """Device, date and what ran, short enough for a narrow picture."""
    end = f" {entry.report.created[:10]}" + (f": {what}" if what else "")
    return cut(cut(entry.report.device.name, max(6, LABEL - len(end))) + end, LABEL)
