"""One type says how far something is; displays are told by it and read nothing out of words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from pinnace.models.progress import Event, Stage

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Event(Stage.LOAD), "loading the model"),
        (Event(Stage.WRITE, "onnx-fp32"), "writing onnx-fp32"),
        (Event(Stage.COMPARE, "onnx-fp32", "openvino"), "comparing onnx-fp32 in openvino"),
        (Event(Stage.CALIBRATE, done=9, total=24), "calibrating with images, 9 of 24"),
        (Event(Stage.FIND_RANGES, detail="entropy"), "finding ranges (entropy)"),
        (Event(Stage.RUN_REFERENCE, total=24), "running fp32 on photographs"),
        (
            Event(Stage.MEASURE, "onnx-fp32", "openvino", done=2.5, total=5, detail="offline"),
            "measuring onnx-fp32 in openvino (offline)",
        ),
    ],
)
def test_what_people_read(event: Event, words: str) -> None:
    assert str(event) == words


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_has_words(stage: Stage) -> None:
    assert stage.words
    assert str(Event(stage)) == stage.words


def test_the_same_activity_further_on() -> None:
    one, later = (Event(Stage.CALIBRATE, "onnx-int8", done=done, total=24) for done in (1, 9))
    assert one.activity == later.activity == Event(Stage.CALIBRATE, "onnx-int8")
    assert Event(Stage.CALIBRATE, "onnx-int8sym").activity != one.activity


def test_it_crosses_a_process_boundary_as_data() -> None:
    adapter = TypeAdapter(Event)
    event = Event(Stage.COMPARE, "onnx-fp32", "openvino", 1, 3, "x")
    assert adapter.validate_json(adapter.dump_json(event)) == event
    assert b'"stage":"compare"' in adapter.dump_json(event)


def test_no_other_signature_reports_progress() -> None:
    other = re.compile(r"(step|progress)\w*: Callable\[\[|json\.loads\(line\)\[\"step\"\]|re\.sub\(r\"\\d")
    for wing in ("models", "export", "latency", "cli"):
        for file in (ROOT / wing).rglob("*.py"):
            assert not other.search(file.read_text(encoding="utf-8")), file
