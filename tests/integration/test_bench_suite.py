"""`pinnace bench --suite`: two networks, one of which cannot be had, exported, timed and reported."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pinnace.cli.bench.suite_export import export_row
from pinnace.latency import report
from pinnace.latency.suites import bundles, run, suite
from pinnace.models.errors import UsageError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_windows")]

BRIEF = ("--duration", "0.1", "--min-queries", "4", "--rounds", "1", "--no-progress")
TINY = """
description = "two"
[[rows]]
name = "tiny"
source = "file:tiny.onnx"
note = "it sees colours"
[[rows]]
name = "lost"
source = "file:lost.onnx"
"""


@pytest.fixture(scope="module")
def folder(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite file with the one network that it finds."""
    made = tmp_path_factory.mktemp("suite")
    shutil.copy(bundle / "onnx-fp32.onnx", made / "tiny.onnx")
    (made / "own.toml").write_text(TINY)
    return made


def test_a_suite_from_its_file_to_its_report(pinnace, folder: Path) -> None:
    reports = [folder / f"own.{kind}" for kind in ("json", "md", "html")]
    wanted = [part for path in reports for part in ("--report", path)]
    asked = ("bench", "--suite", folder / "own.toml", "--suite-folder", folder / "kept", *BRIEF)
    done = pinnace(*asked, *wanted)
    assert done.status == 1, done.err  # one of its rows is lost
    assert "lost" in done.err
    whole = report.read(reports[0])
    assert [(row.model, row.scenario, row.batch) for row in whole.results] == [
        ("tiny", "single-stream", 1),
        ("tiny", "offline", 8),
    ]
    assert whole.settings.suite == "own"
    assert whole.rows == {"tiny": "it sees colours", "lost": ""}
    assert [(each.model, each.scenario) for each in whole.failures] == [("lost", None)]
    assert "lost.onnx" in whole.failures[0].message
    assert "failed: lost: " in done.err
    for text in (done.out, reports[1].read_text(), reports[2].read_text()):
        assert "tiny" in text
        assert "lost" in text
        assert "it sees colours" in text

    # Asked again, the bundle is the same; `--batch` is that of the batch mode.
    kept = folder / "kept" / "tiny.bundle" / "manifest.json"
    before = kept.stat().st_mtime_ns
    again = pinnace(*asked, "--batch", "2", "--json")
    assert again.status == 1, again.err
    assert [row["batch"] for row in again.json["results"]] == [1, 2]
    assert kept.stat().st_mtime_ns == before


def test_what_was_timed_before_an_interruption_is_kept(
    pinnace, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = run.bench

    def interrupted(openers, settings, progress):
        if settings.scenarios == ("offline",):
            raise KeyboardInterrupt
        return measured(openers, settings, progress)

    monkeypatch.setattr(run, "bench", interrupted)
    path = tmp_path / "half.json"
    asked = ("bench", "--suite", folder / "own.toml", "--suite-folder", tmp_path, *BRIEF, "--report", path)
    done = pinnace(*asked)
    assert done.status == 130
    whole = report.read(path)
    assert [(row.model, row.scenario) for row in whole.results] == [("tiny", "single-stream")]
    assert [(each.model, each.scenario, each.message) for each in whole.failures] == [
        ("tiny", "offline", "interrupted"),
        ("lost", "single-stream", "interrupted"),
        ("lost", "offline", "interrupted"),
    ]
    assert "the bench was interrupted" in done.err

    monkeypatch.setattr(
        run, "bench", lambda *_: interrupted((), replace(whole.settings, scenarios=("offline",)), None)
    )
    assert pinnace(*asked[:-1], tmp_path / "none.json").status == 130
    assert not (tmp_path / "none.json").exists()


def test_a_bundle_is_exported_again_when_its_recipe_changes(folder: Path, tmp_path: Path) -> None:
    own = suite.read(str(folder / "own.toml"))
    row, steps = own.rows[0], []

    def made(*variants: str) -> list[str]:
        steps.clear()
        bundle = bundles.bundle_of(row, own, variants, tmp_path, export_row, steps.append)
        assert bundle.folder == tmp_path / "tiny.bundle"
        return [variant.name for variant in bundle.manifest.variants]

    assert made("onnx-fp32") == ["onnx-fp32"]
    assert steps
    assert made("onnx-fp32", "tensorrt-fp16") == ["onnx-fp32"]
    assert not steps
    noted = tmp_path / "tiny.recipe.json"
    recipe = json.loads(noted.read_text())
    noted.write_text(json.dumps(recipe | {"sha256": "of another file"}))
    made("onnx-fp32")
    assert steps
    assert json.loads(noted.read_text()) == recipe
    with pytest.raises(UsageError):
        made("onnx-fp7")
