"""The page of a suite and the index over many reports, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pinnace.latency.numbers import number
from pinnace.latency.report import LatencyReport
from pinnace.latency.reports.write import write_report
from pinnace.latency.result import Failure
from pinnace.latency.result_parts import Caveat
from pinnace.latency.suites import suite
from support import reports
from support.browser import WORDS_OUTSIDE, check_looks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def classic() -> LatencyReport:
    """Made-up figures of the classic suite, whose last network failed."""
    rows, results = suite.read("classic").rows, []
    for scenario, batch in (("single-stream", 1), ("offline", 8)):
        for place, row in enumerate(rows[:-1]):
            result = reports.result(scenario=scenario, median_ms=5.0 * 1.5**place * batch, count=40)
            assert row.edges is not None
            about = replace(result, model=row.name, source=row.source, ratio=None, batch=batch)
            results.append(replace(about, input={"input": (batch, 3, *row.edges)}))
    made = reports.report(*results)
    settings = replace(made.settings, suite="classic", scenarios=("single-stream", "offline"))
    notes = {row.name: row.note for row in rows}
    failed = (Failure("yolov3-tiny-416", None, "out of memory"),)
    return replace(made, settings=settings, rows=notes, failures=failed)


@pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("narrow", "dark")])
def test_a_suite(
    classic: LatencyReport,
    tmp_path: Path,
    look: Callable[..., Any],
    size: str,
    scheme: str,
) -> None:
    write_report(classic, tmp_path / "classic.html")
    here = look(tmp_path / "classic.html", size, scheme)
    assert here.inner_text("h1") == "The classic suite on AMD EPYC 7B13"
    lines = here.locator("table.figures >> nth=0").locator("tbody tr")
    assert lines.count() == 13
    assert lines.nth(0).locator("td").all_inner_texts() == [
        "alexnet-227",
        "227x227",
        *(number(row.throughput) for row in classic.results if row.model == "alexnet-227"),
        *("", "69.9a", "3.45", "3.2", "12.6", "13"),
    ]
    assert lines.nth(12).locator("td").nth(2).inner_text() == "failed"
    assert "yolov3-tiny-416: out of memory" in here.inner_text("body")
    assert here.locator("figure.suite svg:visible circle").count() > 60
    assert here.evaluate(WORDS_OUTSIDE) == []
    check_looks(here)


@pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("narrow", "dark")])
def test_an_index(
    pinnace: Callable[..., Any],
    classic: LatencyReport,
    matrix: LatencyReport,
    hostile: LatencyReport,
    tmp_path: Path,
    look: Callable[..., Any],
    size: str,
    scheme: str,
) -> None:
    jetson = replace(matrix.device, name="NVIDIA Jetson Orin Nano Developer Kit")
    reports = {
        "a/classic": classic,
        "server": matrix,
        "orin #1": replace(matrix, device=jetson, created="2026-02-01T12:00:00Z"),
        "index": replace(hostile, created="2026-02-02T12:00:00Z"),
    }
    (tmp_path / "a").mkdir()
    for name, report in reports.items():
        write_report(report, tmp_path / f"{name}.json")
    (tmp_path / "cut.json").write_bytes(matrix.to_json()[:-50])
    done = pinnace("report", tmp_path, "-o", tmp_path / "index.html", "--json")
    assert done.status == 0, done.err
    assert len(done.json["reports"]) == 4
    assert "cut.json is not a latency report" in done.err
    index = tmp_path / "index.html"
    pages = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")}
    assert pages == {"index.html", "index.report.html", "server.html", "orin #1.html", "a/classic.html"}

    here = look(index, size, scheme)
    assert here.inner_text("h1").startswith("4 latency reports of 3 devices")
    assert "left out" in here.inner_text(".warnings")
    links = here.locator("table.figures >> nth=0").locator("a")
    assert links.all_inner_texts() == ["index.report", "orin #1", "server", "classic"]
    for link in links.all():
        where = link.evaluate("each => each.href")
        assert Path(here.evaluate("url => decodeURIComponent(new URL(url).pathname)", where)).is_file()
    assert "Jetson Orin Nano" in here.inner_text("h2:text-is('resnet50') + div")
    assert here.locator("img, script").count() == 0
    assert here.evaluate(WORDS_OUTSIDE) == []
    check_looks(here)


def test_a_report_in_another_form(pinnace: Callable[..., Any], matrix: LatencyReport, tmp_path: Path) -> None:
    write_report(matrix, tmp_path / "r.json")
    assert pinnace("report", tmp_path / "r.json").out.strip() == str(tmp_path / "r.html")
    assert pinnace("report", tmp_path / "r.json", "-o", tmp_path / "r.csv").status == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".html", ".csv"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("{}/none",), "there is no folder"),
        (("{}",), "has no latency reports"),
        (("{}", "-o", "index.md"), "an index is written as HTML"),
        (("{}/bad.json", "-o", "{}/bad.json"), "the output would overwrite the report itself"),
        (("{}/bad.json",), "it is not JSON"),
    ],
)
def test_what_is_wrong_is_a_sentence(
    pinnace: Callable[..., Any], tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "bad.json").write_text("{")
    done = pinnace("report", *(part.format(tmp_path) for part in arguments))
    assert done.status == 2
    assert sentence in done.err


def test_a_warning_of_many_rows_is_said_once(classic: LatencyReport) -> None:
    from pinnace.latency.reports.suite import warnings

    first, *others = classic.results
    other = replace(first, warnings=(Caveat("variation", "by 9 %"),))
    told = warnings(replace(classic, warnings=(), results=(other, *others)))
    assert len(told) == 1
    assert told[0].startswith("alexnet-227: by 9 % (with other figures: ")
