"""A tuning as a page: the picture of p99 against images a second, and a table of losers with reasons."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from pinnace.latency.numbers import ms, number
from pinnace.latency.reports import facts, write
from pinnace.latency.reports.chart import Panel, drawing
from pinnace.latency.reports.charts import (
    LEFT,
    RIGHT,
    Figure,
    legend_of,
    twice,
    unit,
    x_ticks,
)
from pinnace.latency.reports.html import document, figure, grid, table, warnings
from pinnace.latency.reports.scale import fit, label, wants_log
from pinnace.latency.reports.svg import Markup, tag, text
from pinnace.latency.tuning.race import Runner
from pinnace.latency.tuning.result import TuneResult, frontier

# What is lost of accuracy, in points: each class is a colour.
_CLASSES = (
    (0.0, "nothing lost"),
    (0.5, "up to 0.5 lost"),
    (1.0, "up to 1 lost"),
    (math.inf, "more lost"),
)
_NOT_JUDGED = "not judged"
_OBJECTIVES = {
    "throughput": "images a second",
    "latency": "the median time of a call",
    "energy": "images a joule",
}


def render(result: TuneResult) -> str:
    """A tuning as one HTML document."""
    title = f"{result.model}, tuned for {result.device.name}"
    rules = result.race.rules
    how: facts.Pairs = [
        ("looked for", _OBJECTIVES[rules.objective]),
        ("lost at most", f"{result.max_drop:g} points"),
        ("bound of p99", "none" if rules.max_p99_ms is None else f"{rules.max_p99_ms:g} ms"),
        ("race", f"{result.race.rounds} rounds in {result.race.seconds:.0f} s of {rules.budget_s:.0f} s"),
        ("seed", str(rules.seed)),
        ("bundle", f"{result.bundle}, version {result.version}"),
    ]
    raced = [runner for runner in result.race.runners if runner.trials]
    content = [
        tag("h1", text(title)),
        tag("p", text(f"{result.created[:16].replace('T', ' ')} UTC"), class_="under"),
        _winner(result),
        warnings([*(["the race was interrupted"] if result.race.interrupted else []), *result.notes]),
        figure(picture(result, raced)) if raced else "",
        tag("h2", "All that raced"),
        _raced(result, raced),
    ]
    if result.confirmations:
        content += [tag("h2", "On a real server"), _served(result)]
    if result.judgements:
        content += [tag("h2", "Accuracy"), _judged(result)]
    if result.excluded:
        content.append(tag("h2", "What did not race"))
        content.append(
            grid(["", "why"], [[text(each.what), _words(each.reason)] for each in result.excluded])
        )
    content += [tag("h2", "The machine"), table(facts.device(result.device))]
    content += [tag("h2", "How it was found"), table(how)]
    return document(title, content)


def _winner(result: TuneResult) -> Markup:
    winner = result.winner
    if winner is None:
        return tag("p", "No finalist kept the bound on a server.")
    runner, served = result.runner(winner), result.confirmation(winner)
    pairs = [("images a second", number(runner.images_per_second)), ("p99", ms(runner.percentile_ms(99)))]
    if served is not None:
        pairs.append(("images a second, served", number(served.images_per_second)))
    entries = [tag("div", tag("dt", text(name)), tag("dd", text(value))) for name, value in pairs]
    return (
        tag("dl", *entries, class_="big")
        + tag("p", text(str(winner)), class_="under")
        + tag("p", tag("code", text(winner.command(result.bundle))))
    )


def picture(result: TuneResult, raced: list[Runner]) -> Figure:
    """p99 against images a second; the colour is what is lost of accuracy, the line the frontier."""
    speeds = [runner.images_per_second for runner in raced]
    heights = [runner.percentile_ms(99) for runner in raced]
    bound = result.race.rules.max_p99_ms
    log = wants_log(heights)
    names = [name for _, name in _CLASSES]
    classes = [_class(result, runner) for runner in raced]
    if None in classes:
        names.append(_NOT_JUDGED)
    edge = [(runner.images_per_second, runner.percentile_ms(99)) for runner in frontier(raced)]

    def draw(width: int) -> Markup:
        low, high = min(heights), max(heights)
        shown = [*heights, bound] if bound is not None and low / 4 < bound < 4 * high else heights
        panel = Panel(fit(speeds, LEFT, width - RIGHT, zero=True), fit(shown, 330, 28, zero=not log, log=log))
        panel.axes("images / s", f"p99, {unit(log)}", x_ticks=x_ticks(width))
        if bound is not None and bound in shown:
            panel.level(bound, f"bound of p99: {label(bound)} ms")
        panel.line(edge, 7, "faint")
        for runner, which in zip(raced, classes, strict=True):
            series = len(_CLASSES) if which is None else which
            words = f"{runner.configuration}: {number(runner.images_per_second)}/s, "
            words += f"p99 {ms(runner.percentile_ms(99))}"
            dropped = runner.reason is not None
            panel.dot(runner.images_per_second, runner.percentile_ms(99), series, words, hollow=dropped)
        return drawing(width, 370, "p99 against images a second", panel.markup())

    caption = (
        "Each dot is a configuration: the further right and down, the better. The line is the frontier, "
        "which nothing beats in both. A hollow dot dropped out of the race."
    )
    return twice("rates", "p99 against images a second", caption, draw, legend_of(names))


def _class(result: TuneResult, runner: Runner) -> int | None:
    judged = result.judgement(runner.configuration)
    if judged is None:
        return None
    return next(place for place, (most, _) in enumerate(_CLASSES) if judged.lost <= most)


def _words(content: str) -> Markup:
    return tag("span", text(content), class_="words")


def _raced(result: TuneResult, raced: list[Runner]) -> Markup:
    lines = []
    for runner in raced:
        judged = result.judgement(runner.configuration)
        cells = [
            str(runner.configuration),
            number(runner.images_per_second),
            number(runner.percentile_ms(50)),
            number(runner.percentile_ms(99)),
            "" if judged is None else f"{judged.lost:.2f}",
            "" if runner.ratio is None else f"{runner.ratio:.2f}",
            str(len(runner.trials)),
        ]
        reason = "won" if runner.configuration == result.winner else runner.reason or "was not beaten"
        lines.append([*map(text, cells), _words(reason)])
    head = ["", "images/s", "p50 ms", "p99 ms", "lost", "ratio", "rounds", "why it stands where it does"]
    return grid(head, lines)


def _served(result: TuneResult) -> Markup:
    lines = []
    for each in result.confirmations:
        passed = each.problem is None
        figures = [number(each.images_per_second), number(each.p99_ms)] if passed else ["", ""]
        lines.append([text(str(each.configuration)), *map(text, figures), _words(each.problem or "")])
    words = "Poisson arrivals: the highest rate at which the server kept the bound."
    return tag("p", text(words), class_="under") + grid(["", "images/s", "p99 ms", ""], lines)


def _judged(result: TuneResult) -> Markup:
    lines = []
    for each in result.judgements:
        low, high = each.interval
        cells = [str(each.pair), f"{each.lost:.2f}", f"{low:.2f} to {high:.2f}"]
        lines.append([text(cell) for cell in [*cells, str(each.images)]])
    labelled = any(each.labelled for each in result.judgements)
    what = "points of top-1 lost against fp32" if labelled else "% of first classes that differ from fp32"
    return grid(["", what, "95 %", "images"], lines)


_FORMATS: dict[str, Callable[[TuneResult], str]] = {".html": render, ".json": TuneResult.to_json}


def check_ending(path: Path) -> None:
    """Check that a report can be written there, before anything is measured.

    Raises:
        UsageError: the name ends in something else, or its folder does not exist.
    """
    write.check_ending(path, _FORMATS, "a report of pinnace tune")


def write_report(result: TuneResult, path: Path) -> None:
    """Write HTML, or JSON with every sample, under a temporary name that is moved into place.

    Raises:
        UsageError: the name ends in something else, or the file cannot be written.
    """
    check_ending(path)
    write.write_text(path, _FORMATS[path.suffix](result))
