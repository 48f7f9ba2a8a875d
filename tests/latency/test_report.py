"""A report keeps everything through JSON, says what is wrong with a damaged file, and has a schema."""

from __future__ import annotations

import json
from pathlib import Path

import make_report_schema
import pytest

from pinnace.latency import report
from pinnace.latency.reports.write import write_report
from pinnace.models.errors import UsageError
from support import reports

ROOT = Path(__file__).parents[2]


@pytest.fixture
def whole() -> report.LatencyReport:
    return reports.report(reports.result(), reports.result(scenario="server"))


def test_a_report_comes_back_from_its_file(whole: report.LatencyReport, tmp_path: Path) -> None:
    write_report(whole, tmp_path / "a.json")
    assert report.read(tmp_path / "a.json") == whole
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_samples_can_be_left_out(whole: report.LatencyReport) -> None:
    short = json.loads(whole.to_json(samples=False))["results"][0]
    assert short["latencies"] == {"start_s": [], "latency_ms": []}
    assert short["samples"] == 200


def test_a_report_of_an_earlier_version_is_read(whole: report.LatencyReport) -> None:
    """Stages had two more fields, which were never set."""
    data = whole.to_json().replace(b'"decode":', b'"to_device":null,"back":null,"decode":')
    assert data != whole.to_json()
    assert report.parse(data, "a.json") == whole


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            lambda data: data[: len(data) // 2],
            "a.json is not a latency report: it is not JSON, or it is cut off",
        ),
        (lambda data: b"\xff\xfe", "a.json is not a latency report: it is not JSON, or it is cut off"),
        (lambda data: b"[1]", "a.json is not a latency report: it has no schema_version"),
        (
            lambda data: data.replace(b'"schema_version":1', b'"schema_version":2'),
            "a.json was written by a newer pinnace\n  expected: schema_version 1 or lower\n  got: 2\n"
            "  help: read it with the version that wrote it, or a newer one",
        ),
        (
            lambda data: data.replace(b'"p50_ms":', b'"p51_ms":'),
            "a.json is damaged: results.0.p50_ms: field required",
        ),
    ],
)
def test_a_damaged_report_is_one_sentence(whole: report.LatencyReport, damage, sentence: str) -> None:
    data = damage(whole.to_json())
    assert data != whole.to_json()
    with pytest.raises(UsageError) as caught:
        report.parse(data, "a.json")
    assert str(caught.value) == sentence


def test_a_report_that_cannot_be_read_or_written_is_one_sentence(
    whole: report.LatencyReport, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"none\.json cannot be read: No such file or directory"):
        report.read(tmp_path / "none.json")
    with pytest.raises(UsageError, match=r"a\.json cannot be written: there is no folder .*none"):
        write_report(whole, tmp_path / "none" / "a.json")
    (tmp_path / "a.json").mkdir()
    with pytest.raises(UsageError, match=r"a\.json cannot be written: Is a directory"):
        write_report(whole, tmp_path / "a.json")


def test_the_published_schema_is_that_of_the_types() -> None:
    written = (ROOT / "docs" / "latency-report.schema.json").read_text(encoding="utf-8")
    assert written == make_report_schema.render(), "run: python docs/make_report_schema.py"
