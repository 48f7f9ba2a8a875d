"""What `pinnace tune` shows: who leads while it runs, and the result as a table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, Progress

from pinnace.cli.console import err, out, plain, print_note
from pinnace.cli.progress import description
from pinnace.cli.tables import Column, numbers, print_table
from pinnace.latency.numbers import number
from pinnace.latency.tuning.race import Watch
from pinnace.latency.tuning.result import TuneResult
from pinnace.models.profile import Configuration

_MOST_ROWS = 12
_OFF_TERMINAL_S = 10.0


@contextmanager
def watching(show: bool | None, budget_s: float) -> Iterator[Watch]:
    """Show who leads: as a bar on a terminal; with --progress elsewhere, a line every ten seconds."""
    console = err()
    if not (console.is_terminal if show is None else show):
        yield lambda *_: None
        return
    if not console.is_terminal:
        last = 0.0

        def line(now: Configuration, leader: Configuration | None, left: int, spent: float) -> None:
            nonlocal last
            if time.monotonic() - last >= _OFF_TERMINAL_S:
                last = time.monotonic()
                console.print(plain(_words(leader, left, spent)), soft_wrap=True)

        yield line
        return
    with Progress(BarColumn(), description(), console=console, transient=True) as bar:
        task = bar.add_task("racing", total=budget_s)

        def move(now: Configuration, leader: Configuration | None, left: int, spent: float) -> None:
            bar.update(task, completed=spent, description=plain(_words(leader, left, spent)))

        yield move


def _words(leader: Configuration | None, left: int, spent: float) -> str:
    first = f"{leader} leads" if leader is not None else "first round"
    return f"{spent:.0f} s, {left} in the race; {first}"


def print_result(result: TuneResult) -> None:
    """Print the table on standard output, and what did not race on standard error."""
    columns = (
        Column("configuration"),
        *numbers("images/s", "p50 ms", "p99 ms", "lost", "ratio"),
        Column(wraps=True),
    )
    table = []
    shown = result.race.runners[:_MOST_ROWS]
    for runner in shown:
        judged = result.judgement(runner.configuration)
        won = runner.configuration == result.winner
        cells = (
            plain(str(runner.configuration)),
            number(runner.images_per_second),
            number(runner.percentile_ms(50)) if runner.trials else "",
            number(runner.percentile_ms(99)) if runner.trials else "",
            "" if judged is None else f"{judged.lost:.2f}",
            "" if runner.ratio is None else f"{runner.ratio:.2f}",
            "won" if won else plain(runner.reason or "was not beaten"),
        )
        table.append(cells)
    print_table(out(), columns, table)
    if len(result.race.runners) > len(shown):
        out().print(f"and {len(result.race.runners) - len(shown)} more; --report FILE.html has them all")
    for each in result.confirmations:
        served = f"{number(each.images_per_second)} images/s within the bound, p99 {number(each.p99_ms)} ms"
        out().print(plain(f"served: {each.configuration}: {each.problem or served}"), soft_wrap=True)
    console = err()
    for excluded in result.excluded:
        console.print(plain(f"not in the race: {excluded.what}: {excluded.reason}"), soft_wrap=True)
    for note in result.notes:
        print_note(note)
    if result.race.interrupted:
        print_note("interrupted; this is what was known by then")
    if result.winner is not None:
        out().print(plain(result.winner.command(result.bundle)), soft_wrap=True)


def print_written(path: Path, device: str | None) -> None:
    """Say where the profile is, and what it does."""
    where = "this machine" if device is None else f"{device}, where the bundle has to be with it"
    words = f"{path} is written: pinnace serve, classify, embed, eval and bench use it on {where}"
    err().print(plain(words), soft_wrap=True)
