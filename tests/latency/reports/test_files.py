"""Reports as Markdown and CSV, and where they are written."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from pinnace.latency.report import LatencyReport, read
from pinnace.latency.reports import markdown, spreadsheet
from pinnace.latency.reports.scale import Scale, fit, label, wants_log
from pinnace.latency.reports.write import check_ending, write_report
from pinnace.models.errors import UsageError
from support import reports


def test_markdown(matrix: LatencyReport) -> None:
    text = markdown.render(matrix)
    assert text.startswith("# resnet50 on AMD EPYC 7B13\n")
    lines = text.splitlines()
    at = lines.index("## Single-stream")
    assert lines[at + 2] == "| row | batch | p50 ms | p90 ms | p99 ms | images/s | cv | queries | speed |"
    assert lines[at + 3] == "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    assert lines[at + 5].startswith("| onnx-int8 openvino | 1 | ")
    assert "> **Note:** the frequency governor is powersave, not performance" in lines


def test_hostile_names_in_markdown(hostile: LatencyReport) -> None:
    text = markdown.render(hostile)
    assert "<img" not in text
    assert "<script" not in text
    tables = [line for line in text.splitlines() if line.startswith("| &lt;img")]
    assert len(tables) >= 3
    assert {line.replace("\\|", "").count("|") for line in tables if "200" in line or "400" in line} == {10}


def test_csv(matrix: LatencyReport) -> None:
    rows = list(csv.DictReader(io.StringIO(spreadsheet.render(matrix))))
    assert len(rows) == 3
    assert float(rows[1]["p99_ms"]) == matrix.results[1].p99_ms
    assert rows[1]["ratio"] == "2.0"
    assert rows[0]["warnings"] == "governor variation"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_a_name_is_no_formula(name: str) -> None:
    report = reports.report(replace(reports.result(), model=name))
    (row,) = csv.DictReader(io.StringIO(spreadsheet.render(report)))
    assert row["model"] == "'" + name


@pytest.mark.parametrize("ending", [".html", ".md", ".csv", ".json"])
def test_the_ending_chooses(matrix: LatencyReport, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"report{ending}"
    write_report(matrix, path)
    assert path.stat().st_size > 500
    assert list(tmp_path.iterdir()) == [path]
    if ending == ".json":
        assert read(path) == matrix


def test_no_such_ending_and_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not have the suffix of a report") as caught:
        check_ending(tmp_path / "report.pdf")
    assert (caught.value.expected, caught.value.got) == (".html, .md, .csv, .json", ".pdf")
    with pytest.raises(UsageError, match="there is no folder"):
        check_ending(tmp_path / "missing" / "report.html")


def test_axes() -> None:
    assert Scale(0, 10, 0, 100)(2.5) == 25
    assert Scale(1, 100, 0, 100, log=True)(10) == pytest.approx(50)
    assert Scale(0, 10.5, 0, 1).ticks() == [0, 2, 4, 6, 8, 10]
    assert Scale(0.0312, 0.0388, 0, 1).ticks(4) == [0.032, 0.034, 0.036, 0.038]
    assert Scale(0.9, 110, 0, 1, log=True).ticks(4) == [1, 10, 100]
    assert fit([5.0, 5.0], 0, 1).low < 5 < fit([5.0, 5.0], 0, 1).high
    assert fit([0.0], 0, 1, zero=True).high > 0
    assert not wants_log([10.0, 11.0, 20.0])
    assert wants_log([10.0, 11.0, 200.0])
    assert [label(value) for value in (0.0, 0.25, 1200.0, 2.0)] == ["0", "0.25", "1,200", "2"]
