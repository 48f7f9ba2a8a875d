"""No table cuts a name or a number, however narrow the terminal is."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from pinnace.cli import tables
from pinnace.cli.bench import suite_table
from pinnace.cli.bench import table as bench_table
from pinnace.cli.bench.table import _fitted
from pinnace.cli.classify import display
from pinnace.cli.classify.job import Tally
from pinnace.cli.tables import Column, print_table
from pinnace.cli.tune import show
from pinnace.export.engines import build as engine_build
from pinnace.latency.report import Failure
from pinnace.latency.reports.write import write_report
from pinnace.latency.suites import suite
from pinnace.latency.tuning.confirm import Confirmation
from pinnace.latency.tuning.judgement import Judgement
from pinnace.latency.tuning.race import RaceResult, Rules, Runner
from pinnace.latency.tuning.result import TuneResult
from pinnace.latency.tuning.trial import Trial
from pinnace.models.answer import Answer, Prediction, Timing
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import EngineInfo
from pinnace.models.bundle.outputs import Outputs
from pinnace.models.profile import Configuration
from support import records, reports
from support.command_line import CommandLine

pytestmark = pytest.mark.slow

CLI = Path(tables.__file__).parent
CAT = CLI.parent / "models" / "photographs" / "cat.jpg"
WIDTHS = (60, 80, 120)

Laid = tuple[str, Sequence[Column], Sequence[Sequence[Text]]]


@pytest.fixture
def laid(monkeypatch: pytest.MonkeyPatch) -> list[Laid]:
    """Every table that is printed, with the module that prints it."""
    found: list[Laid] = []
    real = tables.lay_out

    def lay_out(columns: Sequence[Column], cells: Sequence[Sequence[Text]], width: int) -> list[Text]:
        found.append((sys._getframe(2).f_globals["__name__"], columns, cells))
        return real(columns, cells, width)

    monkeypatch.setattr(tables, "lay_out", lay_out)
    return found


def bench_report(folder: Path) -> Path:
    path = folder / f"a_report_with_a_long_name_{len(list(folder.iterdir()))}.json"
    row = reports.result
    write_report(reports.report(row(), row("torchscript-fp32", "torchscript", median_ms=5.0, seed=1)), path)
    return path


def show_bench() -> None:
    row = reports.result
    bench_table.print_report(reports.report(row(), row("onnx-int8sym", "tensorrt_rtx", median_ms=1234.5)))


def show_suite() -> None:
    rows = suite.read("classic").rows
    results = []
    for row in rows[:-1]:
        made = replace(reports.result(count=40), model=row.name, source=row.source, ratio=None)
        assert row.edges is not None
        results.append(replace(made, input={"input": (1, 3, *row.edges)}))
    made = reports.report(*results)
    notes = {row.name: row.note for row in rows}
    settings = replace(made.settings, suite="classic")
    failed = (Failure("yolov3-tiny-416", None, "out of memory"),)
    suite_table.print_suite(replace(made, settings=settings, rows=notes, failures=failed))


def show_tune() -> None:
    configurations = [
        Configuration("torchscript-fp32", "torchscript", threads, 16, 32, "cuda") for threads in (1, 2)
    ]
    runners = [
        Runner(each, [Trial(0, 0.9, 12, (10.0, 12.5, 123.456))], ratio=0.98765, reason=reason)
        for each, reason in zip(
            configurations, (None, "its calls take longer than --max-p99 allows"), strict=True
        )
    ]
    race = RaceResult(tuple(runners), 3, 12.0, Rules(max_p99_ms=100.0))
    device = reports.report().device
    judged = Judgement("torchscript-fp32", "torchscript", 450, 0.44, (0.1, 0.9), True, "cuda")
    served = Confirmation(configurations[0], 123.4, 99.1)
    show.print_result(
        TuneResult("x.bundle", "1", "x", "2026-01-31", device, 1.0, (judged,), (), race, (served,))
    )


def show_answer() -> None:
    labels = (
        "Egyptian cat",
        "tench, Tinca tinca",
        "a label with rather many words in it, and then some more",
    )
    predictions = tuple(
        Prediction(label, 281 + at, 0.5 / (at + 1), at == 0) for at, label in enumerate(labels)
    )
    timing = Timing(decode=1.0, preprocess=1.0, queue=0.0, infer=8.0, total=10.0)
    display.print_answer("cat.jpg", Answer("x", "onnx-fp32", "openvino", predictions, timing, threshold=0.4))


def show_tally() -> None:
    tally = Tally(answered=3000)
    tally.labels.update({"tabby, tabby cat": 1999, "a_label_of_one_long_word_without_a_space_in_it": 1001})
    display.print_summary(tally, 12.3, "classified")


def several_labels(bundle: Path, folder: Path) -> Path:
    """The bundle, as of a network of which several labels may be true."""
    opened = Bundle.open(shutil.copytree(bundle, folder))
    meaning = Outputs("sigmoid", opened.outputs.name, "sigmoid", opened.outputs.classes, threshold=0.5)
    (folder / "manifest.json").write_bytes(replace(opened.manifest, outputs=meaning).to_json())
    return folder


def build_engines(pinnace: CommandLine, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the table reads of a variant that an imitated builder has built."""

    class Builder:
        name = "tensorrt_rtx"

    opened = Bundle.open(bundle)
    engine = EngineInfo(
        "onnx-fp32", "tensorrt_rtx", "10.16.1.11", "Linux aarch64", (1, 64), "NVIDIA Jetson AGX Orin"
    )
    built = replace(opened.variant("onnx-fp32"), name="tensorrt_rtx-int8sym", engine=engine)
    monkeypatch.setattr(engine_build, "choose_builder", lambda name: Builder())
    monkeypatch.setattr(engine_build, "build_variant", lambda *_, **__: built)
    assert pinnace("build", bundle).status == 0


def cache_a_bundle(pinnace: CommandLine, bundle: Path) -> None:
    assert pinnace("inspect", bundle.as_uri()).status == 0
    assert pinnace("cache").status == 0


def drift_and_replay(pinnace: CommandLine, bundle: Path, folder: Path) -> None:
    """What is printed of records: one that has drifted, and one whose answer changes."""
    records.write_record(folder / "before", records.draw(500, 1))
    records.write_record(folder / "now", records.draw(500, 2, shift="camera"))
    assert pinnace("drift", folder / "now", "--against", folder / "before").status == 1
    image = CAT.read_bytes()
    row = records.row(0, "a label that the other bundle does not have", 0.5, image)
    records.write_rows(folder / "kept", [row], {row.sha256: image})
    assert pinnace("replay", folder / "kept", "--bundle", bundle).status == 0


@pytest.fixture
def printed(
    laid: list[Laid],
    pinnace: CommandLine,
    bundle: Path,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[Laid]:
    """Every table of the command line."""
    labels = (bundle / "labels.txt").read_text().split()
    for label in labels[:2]:
        (tmp_path / "images" / label).mkdir(parents=True)
        (tmp_path / "images" / label / "cat.jpg").write_bytes(CAT.read_bytes())
    (tmp_path / "truth.csv").write_text(f"images/{labels[0]}/cat.jpg,{labels[0]}\n")
    for arguments in (
        ("inspect", bundle),
        ("verify", bundle),
        ("models",),
        ("targets",),
        ("doctor",),
        ("serve", "--print-settings"),
        ("compare", bench_report(tmp_path), bench_report(tmp_path), bench_report(tmp_path)),
        ("eval", bundle, "--images", tmp_path / "images"),
        ("eval", several_labels(bundle, tmp_path / "labels.bundle"), "--truth", tmp_path / "truth.csv"),
    ):
        done = pinnace(*arguments)
        assert done.status == 0, done.err
    monkeypatch.setenv("PINNACE_CACHE", str(tmp_path / "cache"))
    cache_a_bundle(pinnace, bundle)
    drift_and_replay(pinnace, bundle, tmp_path)
    build_engines(pinnace, bundle, monkeypatch)
    shows: tuple[Callable[[], None], ...] = (show_bench, show_suite, show_tune, show_answer, show_tally)
    for each in shows:
        each()
    return laid


def test_every_table_has_its_names_and_numbers_at_every_width(printed: list[Laid]) -> None:
    prints = {
        "pinnace.cli." + ".".join(path.relative_to(CLI).with_suffix("").parts)
        for path in CLI.rglob("*.py")
        if "print_table(" in path.read_text(encoding="utf-8") and path.name != "tables.py"
    }
    assert {name for name, *_ in printed} == prints
    assert len(printed) >= len(prints)
    for name, columns, cells in tuple(printed):  # laying them out again adds to it
        for width in WIDTHS:
            lines = [line.plain for line in tables.lay_out(columns, cells, width)]
            shown = " ".join(lines).split()
            assert "…" not in "".join(lines)
            for row in cells:
                for word in " ".join(cell.plain for cell in row).split():
                    assert word in shown or f"{word}," in shown, (name, width, word)
            # Only a single word may be longer, such as a path, and then it has its line.
            assert all(len(line) <= width or len(line.split()) == 1 for line in lines), (name, width)


def test_all_tables_are_printed_by_the_one_helper() -> None:
    own = [
        path.name
        for path in CLI.rglob("*.py")
        if re.search(r"rich\.table import .*\bTable\b|\bTable\.grid", path.read_text(encoding="utf-8"))
    ]
    assert own == []


def laid_out(width: int, columns: Sequence[Column], *rows: Sequence[str]) -> list[str]:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        print_table(console, columns, rows)
    return capture.get().splitlines()


COLUMNS = (Column("variant"), Column("max rel", right=True), Column(), Column("note", wraps=True))


def test_side_by_side_where_it_fits_and_empty_columns_are_left_out() -> None:
    assert laid_out(80, COLUMNS, ("onnx-fp32", "1.69e-06", "", "all good"), ("x", "2", "", "")) == [
        "variant     max rel  note",
        "onnx-fp32  1.69e-06  all good",
        "x                 2",
    ]


def test_prose_wraps_between_words() -> None:
    assert laid_out(
        48, COLUMNS, ("onnx-fp32", "1.69e-06", "", "a sentence that is longer than its line")
    ) == [
        "variant     max rel  note",
        "onnx-fp32  1.69e-06  a sentence that is longer",
        "                     than its line",
    ]


def test_stacked_where_it_does_not_fit_side_by_side() -> None:
    row = ("onnx-fp32", "1.69e-06", "", "a sentence that is longer than its line")
    assert laid_out(30, COLUMNS, row) == [
        "onnx-fp32",
        "  max rel 1.69e-06",
        "  note a sentence that is",
        "  longer than its line",
    ]


def test_a_word_longer_than_the_terminal_is_not_broken() -> None:
    word = "w" * 50
    assert laid_out(30, COLUMNS, ("onnx-fp32", "1", "", f"see {word}"))[-1] == f"  {word}"


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_progress_stays_within_lines_that_can_be_wiped(columns: int) -> None:
    text = f"{'█' * 20} 12:34 left  measuring 12/13 mobilenet_v2-224: round 3 of 5, onnx-int8 in openvino"
    lines = _fitted(text, columns)
    assert "".join(lines) == text
    assert max(map(len, lines)) < columns
