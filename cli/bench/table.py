"""A report as a table on the terminal, and how far a bench is."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pinnace.cli.console import err, out, plain
from pinnace.cli.tables import Column, numbers, print_table, texts
from pinnace.latency.numbers import megabytes
from pinnace.latency.report import LatencyReport
from pinnace.latency.reports import extras
from pinnace.latency.result import Result
from pinnace.latency.settings import BenchSettings
from pinnace.models.printable import printable
from pinnace.models.progress import Event, Progress, Stage, ignore

_BAR = 20
_ELSEWHERE = 80  # columns, where it is no terminal


def print_report(report: LatencyReport) -> None:
    """Print the rows on standard output, and the warnings on standard error."""
    console = out()
    console.print(f"[bold]{plain(report.device.name)}[/], {plain(report.device.system)}")
    for scenario in report.settings.scenarios:
        rows = [row for row in report.results if row.scenario == scenario]
        if not rows:
            continue
        kind = {"infer": "infer alone", "end-to-end": "from JPEG bytes", "http": "from when it was due"}
        first = rows[0]
        swept = len({(row.batch, row.threads) for row in rows}) > 1
        count = None if swept else first.threads
        threads = "" if count is None else f", {count} thread{'s' * (count != 1)}"
        batch = "" if swept else f", batch {first.batch}"
        console.print(f"\n[bold]{scenario}[/]{batch}{threads}, ms, {kind[first.timed]}; {first.loadgen}")
        print_table(console, _COLUMNS, [_cells(row, swept=swept) for row in rows])
    for extra in extras.tables(report.results):
        console.print(f"\n[bold]{extra.title.lower()}[/]")
        columns = [Column(name, wraps=name == "covers") for name in extra.head]
        print_table(console, columns, [tuple(map(plain, line)) for line in extra.lines])
        console.print(f"[dim]{plain(extra.method)}[/]", soft_wrap=True)
    console = err()
    for failure in report.failures:
        where = " ".join(part for part in (failure.model, failure.scenario) if part)
        console.print(f"[bold red]failed:[/] {plain(f'{where}: {failure.message}')}", soft_wrap=True)
    for caveat in report.warnings:
        console.print(f"[yellow]note:[/] {plain(caveat.message)}", soft_wrap=True)
    seen: dict[str, list[str]] = {}
    for row in report.results:
        for caveat in row.warnings:
            seen.setdefault(caveat.message, []).append(f"{row.row} {row.scenario}")
    for message, names in seen.items():
        who = "" if len(names) == len(report.results) else f" ({', '.join(names)})"
        console.print(f"[yellow]note:[/] {plain(message + who)}", soft_wrap=True)


_COLUMNS = (
    *texts("variant", "runtime"),
    *numbers("batch", "threads", "p50", "p90", "p99", "p99.9", "max", "images/s", "queries"),
    *numbers("file, MB", "top-1", "ratio", "p10..p90"),
)


def _cells(row: Result, *, swept: bool) -> tuple[str, ...]:
    """A row of `_COLUMNS`; those that are empty in every row are left out."""
    ratio = row.ratio
    return (
        plain(row.variant),
        plain(row.runtime),
        str(row.batch) if swept else "",
        str(row.threads) if swept else "",
        *(f"{value:.2f}" for value in (row.p50_ms, row.p90_ms, row.p99_ms)),
        "" if row.p999_ms is None else f"{row.p999_ms:.2f}",
        f"{row.max_ms:.2f}",
        f"{row.throughput:,.1f}",
        f"{row.samples:,}",
        megabytes(row.file_bytes),
        "" if row.accuracy is None else f"{row.accuracy.top1:.1%}",
        "" if ratio is None else f"{ratio.median:.2f}",
        "" if ratio is None else f"{ratio.p10:.2f}..{ratio.p90:.2f}",
    )


@dataclass
class _Step:
    name: str
    done: float
    seconds: float
    since: float


@contextmanager
def progress_of(show: bool | None, rows: int, settings: BenchSettings) -> Iterator[Progress]:
    """Yield a function to call before each step; a bar with the time left is drawn once a second.

    Drawing more often would show in the latencies.

    Args:
        show: whether to draw; None means on a terminal only.
        rows: how many are timed.
        settings: for how long.
    """
    stream = sys.stderr
    if not (stream.isatty() if show is None else show):
        yield ignore
        return
    closed = [name for name in settings.scenarios if name != "server"]
    total = rows * settings.duration_s * (len(closed) + 7 * (len(settings.scenarios) - len(closed)))
    current = _Step("warming up", 0.0, 0.0, time.perf_counter())
    ended = threading.Event()

    above = 0  # lines of what is drawn, above that where the cursor stands

    def wipe() -> str:
        return "\r\x1b[K" + "\x1b[A\x1b[K" * above

    def line() -> None:
        nonlocal above
        while not ended.wait(1.0):
            done = current.done + min(time.perf_counter() - current.since, current.seconds)
            share = min(1.0, done / total)
            left = max(0, round(total - done))
            bar = "█" * round(_BAR * share)
            text = f"{bar:<{_BAR}} {left // 60}:{left % 60:02} left  {current.name}"
            lines = _fitted(text, _columns(stream.fileno()))
            drawn = wipe() + "\r\n".join(lines)
            above = len(lines) - 1
            os.write(stream.fileno(), drawn.encode())

    thread = threading.Thread(target=line, daemon=True)
    thread.start()

    def step(event: Event) -> None:
        current.done += current.seconds
        current.name, current.since = printable(str(event)), time.perf_counter()
        current.seconds = event.total if event.stage is Stage.MEASURE else 0.0

    try:
        yield step
    finally:
        ended.set()
        thread.join()
        os.write(stream.fileno(), wipe().encode())


def _columns(stream: int) -> int:
    try:
        return os.get_terminal_size(stream).columns or _ELSEWHERE
    except OSError:
        return _ELSEWHERE


def _fitted(text: str, columns: int) -> list[str]:
    """The text in lines shorter than the terminal, which would break longer ones by itself; those stay."""
    most = max(columns - 1, 1)
    return [text[start : start + most] for start in range(0, len(text), most)]
