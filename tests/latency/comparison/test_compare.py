"""`pinnace compare`: the rows, the ratios and how sure they are, the conditions, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pinnace.cli import main
from pinnace.latency.comparison import bootstrap, conditions
from pinnace.latency.comparison.compare import compare, only_in, violations
from pinnace.latency.report import LatencyReport
from pinnace.latency.reports.write import write_report
from pinnace.latency.result import Failure
from pinnace.latency.result_parts import Samples
from pinnace.models.errors import UsageError
from support import reports


def report(factor: float = 1.0, seed: int = 0) -> LatencyReport:
    row = reports.result
    made: LatencyReport = reports.report(
        row(median_ms=10 * factor, seed=seed), row("onnx-int8", "openvino", median_ms=5, seed=seed + 50)
    )
    return made


def correlated(random: np.random.Generator, count: int, scale: float = 1.0) -> Any:
    """Latencies that drift: each keeps 0.8 of how far its neighbour was off."""
    noise = random.normal(0, 1, count)
    for i in range(1, count):
        noise[i] += 0.8 * noise[i - 1]
    return scale * np.exp(0.03 * noise) * 10


@pytest.mark.parametrize("statistic", [bootstrap.percentile(0.5)])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(statistic: bootstrap.Statistic) -> None:
    random = np.random.default_rng(3)
    inside = 0
    for trial in range(30):
        first, other = correlated(random, 400), correlated(random, 400, 1.05)
        found = bootstrap.interval(first, other, statistic, seed=trial)
        assert found is not None
        inside += found[0] <= 1.05 <= found[1]
    # 95 % is for endless samples; draws that took single latencies for independent would hold it in 50 %.
    assert inside >= 24


def test_the_same_seed_gives_the_same_interval() -> None:
    random = np.random.default_rng(0)
    first, other = correlated(random, 200), correlated(random, 200)
    p99 = bootstrap.percentile(0.99)
    assert bootstrap.interval(first, other, p99) == bootstrap.interval(first, other, p99)
    assert bootstrap.interval(first, other, p99) != bootstrap.interval(first, other, p99, seed=1)
    assert bootstrap.interval(first[:19], other, p99) is None


def test_percentiles_are_of_nearest_rank() -> None:
    lines = np.arange(1.0, 101.0)[None]
    assert bootstrap.percentile(0.99)(lines) == [99]
    assert bootstrap.percentile(0.5)(lines) == [50]


def test_what_only_one_side_has_is_named(pinnace, tmp_path: Path) -> None:
    lonely = reports.result("onnx-fp16", "onnxruntime")
    broken = Failure("onnx-bf16 openvino", "single-stream", "it broke")
    after = report(1.2, seed=1)
    after = replace(after, results=(lonely, after.results[0]), failures=(broken,))
    write_report(report(), tmp_path / "a.json")
    write_report(after, tmp_path / "b.json")
    assert only_in([report(), after]) == [
        ["resnet50 onnx-int8 openvino single-stream"],
        ["resnet50 onnx-fp16 onnxruntime single-stream", "onnx-bf16 openvino single-stream (failed)"],
    ]
    page = tmp_path / "c.html"
    done = pinnace("compare", tmp_path / "a.json", tmp_path / "b.json", "--report", page)
    assert done.status == 0, done.err
    assert "only in a: resnet50 onnx-int8 openvino single-stream" in done.err
    assert "only in b: onnx-bf16 openvino single-stream (failed)" in done.err
    assert "Rows that only one side has" in page.read_text()
    told = pinnace("compare", tmp_path / "a.json", tmp_path / "b.json", "--json").json["only_in"]
    assert [len(names) for names in told.values()] == [1, 2]


@pytest.mark.slow
def test_very_many_latencies_are_done_in_time() -> None:
    random = np.random.default_rng(0)
    many = random.lognormal(0, 0.1, 100_000)
    found = bootstrap.interval(many, many, bootstrap.percentile(0.99))
    assert found is not None
    assert found[0] < 1 < found[1]


def test_shared_rows_and_their_ratios() -> None:
    after = report(1.2, seed=1)
    lonely = reports.result("onnx-fp16", "onnxruntime")
    rows = compare([report(), replace(after, results=(lonely, *after.results))], ["a", "b"])
    assert [row.name for row in rows] == [
        "resnet50 onnx-fp32 onnxruntime single-stream",
        "resnet50 onnx-int8 openvino single-stream",
    ]
    changes = {change.metric: change for change in rows[0].changes[0]}
    assert changes["p50"].ratio == pytest.approx(after.results[0].p50_ms / report().results[0].p50_ms)
    assert changes["p50"].interval is not None
    assert changes["p50"].interval[0] > 1
    assert changes["p50"].interval[0] < changes["p50"].ratio < changes["p50"].interval[1]
    assert changes["throughput"].ratio == pytest.approx(1 / 1.2, rel=0.02)
    assert changes["throughput"].interval is not None
    assert changes["throughput"].interval[0] < changes["throughput"].ratio < changes["throughput"].interval[1]
    assert changes["max"].interval is None
    same = {change.metric: change for change in rows[1].changes[0]}
    assert same["p50"].interval is not None
    assert same["p50"].interval[0] <= 1 <= same["p50"].interval[1]


def test_reports_without_single_latencies_have_no_intervals() -> None:
    bare = replace(report(), results=tuple(replace(row, latencies=Samples()) for row in report().results))
    (row, _) = compare([report(), bare], ["a", "b"])
    assert {change.interval for change in row.changes[0]} == {None}


def test_a_single_row_each_is_compared_whatever_it_is() -> None:
    (row,) = compare(
        [
            reports.report(reports.result()),
            reports.report(reports.result("onnx-int8", "openvino", median_ms=5.0)),
        ],
        ["a", "b"],
    )
    assert row.changes[0][0].ratio == pytest.approx(0.5, rel=0.05)
    first, second = row.name.split(" against ")
    assert "onnx-fp32" in first
    assert "onnx-int8 openvino" in second


def test_no_row_in_common() -> None:
    other = report()
    other = replace(other, results=tuple(replace(row, model="alexnet") for row in other.results))
    with pytest.raises(UsageError, match="the reports have no row in common") as caught:
        compare([report(), other], ["a", "b"])
    assert "b has alexnet onnx-fp32 onnxruntime single-stream" in str(caught.value.got)


@pytest.mark.parametrize(
    ("text", "value", "ratio", "holds"),
    [
        ("p99 > 1.1x", 5.0, 1.11, True),
        ("p99 > 1.1x", 5.0, 1.1, False),
        ("p99>=1.1X", 5.0, 1.1, True),
        ("  p50 > 12 ms ", 12.5, 0.5, True),
        ("p50 > .012s", 11.9, 2.0, False),
        ("throughput < 0.9x", 100.0, 0.89, True),
        ("throughput <= 90/s", 90.0, 2.0, True),
    ],
)
def test_conditions(text: str, value: float, ratio: float, holds: bool) -> None:
    assert conditions.parse(text).holds(value, ratio) is holds


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("p99", "--fail-if cannot be read as a condition"),
        ("p99 > 1.1", "--fail-if cannot be read as a condition"),
        ("p99 > -1x", "--fail-if cannot be read as a condition"),
        ("p99 == 1x", "--fail-if cannot be read as a condition"),
        ("", "--fail-if cannot be read as a condition"),
        ("p98 > 1.1x", "--fail-if names the metric p98, which reports do not have"),
        ("throughput > 12ms", "throughput is compared as a ratio or in images/s"),
        ("p99 > 12/s", "p99 is compared as a ratio or in ms"),
    ],
)
def test_nonsense(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        conditions.parse(text)
    assert caught.value.message == sentence
    assert caught.value.got == text


def test_violations_name_the_row_and_the_report() -> None:
    rows = compare([report(), report(0.9, 2), report(1.3, 3)], ["a", "b", "c"])
    found = violations(rows, [conditions.parse("p99 > 1.2x"), conditions.parse("p50 > 100ms")])
    assert [(each.row, each.report, str(each.condition)) for each in found] == [
        ("resnet50 onnx-fp32 onnxruntime single-stream", 2, "p99 > 1.2x")
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_report(report(), tmp_path / "before.json")
    write_report(report(1.2, seed=1), tmp_path / "after.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["compare", "before.json", "after.json"]) == 0
    out = capsys.readouterr().out
    assert "resnet50 onnx-fp32 onnxruntime single-stream" in out
    assert "1.2" in out


def test_a_condition_that_holds_is_status_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "before.json", "after.json", "--json"]
    assert main.run([*arguments, "--fail-if", "p99 > 2x"]) == 0
    assert json.loads(capsys.readouterr().out)["failures"] == []
    assert main.run([*arguments, "--fail-if", "p99 > 2x", "--fail-if", "p50 > 1.1x"]) == 1
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert [each["condition"] for each in answer["failures"]] == ["p50 > 1.1x"]
    metrics = answer["rows"][0]["compared"][0]["metrics"]
    assert metrics["p50"]["ratio"] == pytest.approx(1.2, rel=0.03)
    assert len(metrics["p50"]["interval"]) == 2
    assert err.startswith("error: 1 of the conditions of --fail-if holds\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["before.json"], "error: compare needs at least two reports\n"),
        (["before.json", "missing.json"], "error: missing.json cannot be read: No such file or directory\n"),
        (["before.json", "page.json"], "error: page.json is not a latency report"),
        (
            ["before.json", "after.json", "--fail-if", "fast"],
            "error: --fail-if cannot be read as a condition\n",
        ),
        (["before.json", "after.json", "--report", "x.pdf"], "error: --report writes HTML\n"),
        (["before.json", "after.json", "--report", "no/x.html"], "error: no/x.html cannot be written"),
    ],
)
def test_wrong_usage(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    (folder / "page.json").write_text("<html>")
    assert main.run(["compare", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(sentence)
    assert "Traceback" not in err


def test_the_page(folder: Path) -> None:
    assert main.run(["compare", "before.json", "after.json", "--report", "page.html"]) == 0
    text = (folder / "page.html").read_text()
    assert text.count('<figure class="ratios"') == 2
    assert text.count('<figure class="cdf"') == 2
    assert "circular block bootstrap" in text
