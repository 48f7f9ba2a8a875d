"""The HTML of a report, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pinnace.latency.comparison import page as comparison_page
from pinnace.latency.comparison.compare import compare
from pinnace.latency.report import LatencyReport
from pinnace.latency.reports import page
from pinnace.latency.reports.write import write_report
from pinnace.latency.result_parts import Samples, State
from support import reports
from support.browser import WORDS_OUTSIDE, check_looks

pytestmark = pytest.mark.slow

# Words that are drawn outside of their picture.
HOSTILE = "<img src=x onerror=alert(3)>"
LOOKS = [("wide", "light"), ("wide", "dark"), ("narrow", "light"), ("narrow", "dark")]


def written(report: LatencyReport, folder: Path) -> Path:
    write_report(report, folder / "report.html")
    return folder / "report.html"


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_every_picture_is_there_and_can_be_read(
    matrix: LatencyReport,
    tmp_path: Path,
    look: Callable[..., Any],
    size: str,
    scheme: str,
) -> None:
    here = look(written(matrix, tmp_path), size, scheme)
    # Two scenarios: bars and a distribution of each, the rates of one, two pictures for each of three rows.
    kinds = here.eval_on_selector_all("figure", "all => all.map(each => each.className)")
    assert sorted(kinds) == sorted(["bars", "cdf"] * 2 + ["rates"] + ["histogram", "timeline"] * 3)
    seen = here.eval_on_selector_all(
        "figure > svg",
        "all => all.filter(e => e.checkVisibility()).map(e => e.getBoundingClientRect().width)",
    )
    assert len(seen) == len(kinds)
    assert min(seen) > (280 if size == "narrow" else 700)
    assert here.evaluate(WORDS_OUTSIDE) == []
    check_looks(here)


def test_the_figures_of_the_table_are_those_of_the_report(
    matrix: LatencyReport, tmp_path: Path, look: Callable[..., Any]
) -> None:
    here = look(written(matrix, tmp_path))
    cells = here.locator("table.figures tbody tr").nth(1).locator("td").all_inner_texts()
    row = matrix.results[1]
    assert cells[0] == "onnx-int8 openvino"
    assert cells[1:4] == [f"{value:.2f}" for value in (row.p50_ms, row.p90_ms, row.p99_ms)]
    assert cells[-2:] == ["200", "2.00x"]
    assert "the frequency governor is powersave" in here.inner_text(".warnings")
    assert "AMD EPYC 7B13, 2 of 2 CPUs" in here.inner_text("table.facts >> nth=0")


def test_hostile_names_are_shown_and_not_obeyed(
    hostile: LatencyReport, tmp_path: Path, look: Callable[..., Any]
) -> None:
    here = look(written(hostile, tmp_path))
    assert here.locator("img, script").count() == 0
    assert "<img src=x onerror=alert(1)>" in here.inner_text("h1")
    assert "\x1b" not in here.content()


def test_it_prints_on_a4(matrix: LatencyReport, tmp_path: Path, look: Callable[..., Any]) -> None:
    here = look(written(matrix, tmp_path), "narrow", "dark")
    pdf = here.pdf(prefer_css_page_size=True, print_background=True)
    sizes = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox \[0 0 ([\d. ]+)\]", pdf)}
    assert len(sizes) == 1
    width, height = sizes.pop()
    assert (round(width), round(height)) in ((595, 842), (596, 842))
    here.emulate_media(media="print", color_scheme="dark")
    assert here.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert here.locator("svg.wide").first.is_visible()
    assert not here.locator("svg.narrow").first.is_visible()


def test_without_single_latencies_there_are_the_figures_and_the_bars(matrix: LatencyReport) -> None:
    rows = tuple(replace(row, latencies=Samples(), state=State(), rates=()) for row in matrix.results)
    text = page.render(replace(matrix, results=rows))
    assert re.findall(r'<figure class="(\w+)"', text) == ["bars", "bars"]


def test_a_report_of_nothing(matrix: LatencyReport) -> None:
    assert "Nothing was measured." in page.render(replace(matrix, results=(), warnings=()))


@pytest.mark.parametrize(
    "latencies", [(5.0,), (5.0, 5.0, 5.0), (0.001, 900.0), tuple(float(i + 1) for i in range(20_000))]
)
def test_few_equal_and_very_many_latencies(latencies: Any) -> None:
    row = replace(
        reports.result(), latencies=Samples(tuple(i / 100 for i in range(len(latencies))), tuple(latencies))
    )
    text = page.render(reports.report(row))
    assert "NaN" not in text
    assert "inf" not in re.sub(r"\binfer\b", "", text.partition("<body>")[2])
    assert len(text) < 400_000


@pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("narrow", "dark")])
def test_a_comparison(
    matrix: LatencyReport,
    hostile: LatencyReport,
    tmp_path: Path,
    look: Callable[..., Any],
    size: str,
    scheme: str,
) -> None:
    names = [HOSTILE, "after"]
    rows = compare([hostile, hostile], names)
    path = tmp_path / "page.html"
    path.write_text(comparison_page.render([hostile, matrix], names, rows, ["it is slower"]))
    here = look(path, size, scheme)
    assert here.locator("figure.ratios").count() == 3
    assert here.locator("img, script").count() == 0
    assert here.evaluate(WORDS_OUTSIDE) == []
    check_looks(here)
