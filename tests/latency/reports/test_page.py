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
from pinnace.latency.numbers import ms
from pinnace.latency.report import LatencyReport
from pinnace.latency.reports import page
from pinnace.latency.reports.write import write_report
from pinnace.latency.result import Failure
from pinnace.latency.result_parts import Samples, State
from pinnace.models.bundle.measurements import Accuracy
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
    folded = here.locator("details").count()
    assert folded == 3
    assert here.locator("figure.timeline").first.is_hidden()
    here.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    # Two scenarios: bars and a distribution of each, the rates of one, two pictures for each of three rows.
    kinds = here.eval_on_selector_all("figure", "all => all.map(each => each.className)")
    assert sorted(kinds) == sorted(["bars", "cdf"] * 2 + ["rates"] + ["histogram", "timeline"] * 3)
    seen = here.eval_on_selector_all(
        "figure",
        """all => all.map(each => [...each.querySelectorAll('svg.wide, svg.narrow')]
            .filter(e => e.checkVisibility()).map(e => e.getBoundingClientRect().width))
            .map(widths => widths.length ? Math.min(...widths) : 0)""",
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


def test_the_headline_is_a_single_image_and_not_a_batch(matrix: LatencyReport) -> None:
    single = replace(reports.result(median_ms=12.0), scenario="single-stream", batch=1)
    # Eight images in 20 ms are fewer milliseconds an image, and not what a reader asks.
    batch = replace(reports.result(median_ms=20.0), scenario="offline", batch=8)
    assert page.headline([batch, single]) == single
    assert page.headline([batch]) == batch


def test_the_bars_can_be_put_into_another_order(tmp_path: Path, look: Callable[..., Any]) -> None:
    row = reports.result
    rows = [
        replace(row(), file_bytes=18_000_000),
        replace(row("onnx-int8", median_ms=5.0), file_bytes=5_000_000),
        replace(row("onnx-fp16", median_ms=7.0), file_bytes=None),
    ]
    here = look(written(reports.report(*rows), tmp_path))

    def order() -> list[str]:
        found = here.eval_on_selector_all(
            ".rows > .row",
            """all => all.map(e => [e.getBoundingClientRect().top, e.querySelector('text').textContent])
                .sort((a, b) => a[0] - b[0]).map(pair => pair[1])""",
        )
        return [name.split()[0].removeprefix("onnx-") for name in found]

    assert order() == ["fp32", "int8", "fp16"]
    here.get_by_label("p50", exact=True).check()
    assert order() == ["int8", "fp16", "fp32"]
    here.get_by_label("file size").check()
    assert order() == ["int8", "fp32", "fp16"]  # what has no size comes last
    here.get_by_label("as measured").check()
    assert order() == ["fp32", "int8", "fp16"]


def test_the_contents_lead_to_the_sections(matrix: LatencyReport, tmp_path: Path, look: Any) -> None:
    here = look(written(matrix, tmp_path))
    links = here.locator(".contents a")
    assert links.all_inner_texts() == ["Single-stream", "Server", "The machine", "How it was measured"]
    targets = links.evaluate_all("all => all.map(e => document.querySelector(e.hash).textContent)")
    assert targets == links.all_inner_texts()


def test_values_are_said_where_the_pointer_rests(matrix: LatencyReport, tmp_path: Path, look: Any) -> None:
    here = look(written(matrix, tmp_path))
    row = matrix.results[0]
    titles = here.eval_on_selector_all("figure title", "all => all.map(e => e.textContent)")
    assert any(title.startswith(f"{row.row}: p50 {ms(row.p50_ms)}, p90") for title in titles)
    assert f"{row.row}: 90 % within {ms(row.p90_ms)}" in titles
    queries = [int(found[1]) for title in titles if (found := re.fullmatch(r".* ms: (\d+) queries", title))]
    # Each query of three rows is in a bin of each of two widths.
    assert sum(queries) == 2 * sum(row.samples for row in matrix.results)


def test_size_accuracy_and_failures_stand_beside_speed(tmp_path: Path, look: Callable[..., Any]) -> None:
    accuracy = Accuracy(100, 0.75, 0.9, (0.66, 0.82), (0.83, 0.94))
    row = replace(reports.result(), file_bytes=18_500_000, accuracy=accuracy)
    report = replace(
        reports.report(row), failures=(Failure("onnx-int8 openvino", "single-stream", "it broke"),)
    )
    here = look(written(report, tmp_path))
    head = here.locator("table.figures thead th").all_inner_texts()
    cells = here.locator("table.figures tbody tr").first.locator("td").all_inner_texts()
    found = dict(zip(head, cells, strict=False))
    assert (found["file, MB"], found["top-1"]) == ("18.5", "75.0%")
    assert "75.0% (66.0% to 82.0%)" in here.inner_text("body")
    assert "it broke" in here.inner_text("body")
    assert "1 row failed" in here.inner_text(".warnings")


def test_a_sweep_draws_its_curves(tmp_path: Path, look: Callable[..., Any]) -> None:
    rows = [
        replace(reports.result(median_ms=10.0 * batch / threads), batch=batch, threads=threads)
        for batch in (1, 2, 4)
        for threads in (1, 2)
    ]
    report = reports.report(*rows)
    swept = replace(report.settings, sweep={"batch": (1, 2, 4), "threads": (1, 2)})
    here = look(written(replace(report, settings=swept), tmp_path), "narrow")
    assert here.locator("figure.sweep .legend li").all_inner_texts() == [
        "onnx-fp32 onnxruntime, 1 thread",
        "onnx-fp32 onnxruntime, 2 threads",
    ]
    assert here.locator("figure.sweep svg.narrow circle").count() == 2 * 6
    names = here.locator("table.figures tbody tr td:first-child").all_inner_texts()
    assert names[1] == "onnx-fp32 onnxruntime, batch 1, 2 threads"
    check_looks(here)


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
    assert here.locator("figure.over").count() == 3
    assert here.locator("img, script").count() == 0
    assert here.evaluate(WORDS_OUTSIDE) == []
    check_looks(here)
