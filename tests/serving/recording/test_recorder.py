"""No answer waits for the record; what it cannot keep it counts, and a bad disk stops the record alone."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pinnace.models.answer import Answer, Embedding, Prediction, Timing
from pinnace.models.errors import UsageError
from pinnace.models.records.image_facts import ImageFacts
from pinnace.models.records.places import parts_of, remove_oldest
from pinnace.models.records.rows import schema
from pinnace.serving.recording import recorder as module
from pinnace.serving.recording.open_recorder import check_record, record_sentences
from pinnace.serving.recording.part_writer import PartWriter
from pinnace.serving.recording.recorder import QUEUE_BYTES, QUEUE_ROWS, Recorder
from pinnace.serving.settings import load_settings
from support.errors import refusal
from support.s3 import s3_server

TIMING = Timing(1, 2, 3, 4, 10)
SIX = tuple(Prediction(f"class {n}", n, 0.5 / 2**n) for n in range(6))
ANSWER = Answer("tiny", "onnx-fp32", "onnxruntime", SIX, TIMING, "v1")
FACTS = ImageFacts("JPEG", 640, 480, 3, 100.5)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK_SECONDS", 0.02)


class Counts:
    """In the place of the metrics."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.most_bytes = 0

    def recorded(self, outcome: str, rows: int) -> None:
        self.rows[outcome] += rows

    def record_bytes(self, count: int) -> None:
        self.most_bytes = max(self.most_bytes, count)


def recorder(place: object, **given: Any) -> tuple[Recorder, Counts]:
    counts = Counts()
    writer = PartWriter(str(place), given.pop("seconds", 60), given.pop("most", 10**9))
    made = Recorder(writer, given.pop("share", 1.0), images=given.pop("images", False), metrics=counts)  # type: ignore[arg-type]
    return made, counts


def offer(recorder: Recorder, image: bytes | str, answer: Answer | Embedding = ANSWER) -> None:
    seen = recorder.begin()
    assert seen is not None
    seen.facts = FACTS
    recorder.offer(seen, image, lambda: answer)


def wait(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("rows/*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_a_row_has_what_was_answered_and_the_images_are_kept_once(tmp_path: Path) -> None:
    made, counts = recorder(tmp_path, images=True)
    before = time.time()
    offer(made, b"abc")
    offer(made, base64.encodebytes(b"abc").decode())
    offer(made, b"", Embedding("e", "onnx-fp32", "openvino", (1.0,), True, TIMING))
    unseen = made.begin()
    assert unseen is not None
    made.offer(unseen, b"not decoded", lambda: ANSWER)
    made.close()
    first, second, embedded = rows_in(tmp_path)
    assert abs(first.pop("time").timestamp() - before) < 20
    second.pop("time")
    assert first == second
    assert first == {
        "request_id": "",
        "model": "tiny",
        "version": "v1",
        "variant": "onnx-fp32",
        "runtime": "onnxruntime",
        "sha256": hashlib.sha256(b"abc").hexdigest(),
        "format": "JPEG",
        "width": 640,
        "height": 480,
        "bytes": 3,
        "brightness": 100.5,
        "predictions": [{"label": f"class {n}", "index": n, "probability": 0.5 / 2**n} for n in range(5)],
        "decode_ms": 1,
        "preprocess_ms": 2,
        "queue_ms": 3,
        "infer_ms": 4,
        "total_ms": 10,
    }
    assert embedded["predictions"] == []
    (part,) = tmp_path.glob("rows/*")
    assert pq.read_schema(part).equals(schema())
    (kept,) = tmp_path.glob("images/*")
    assert kept.name == part.name
    images = {row["sha256"]: row["image"] for row in pq.read_table(kept).to_pylist()}
    assert images == {hashlib.sha256(data).hexdigest(): data for data in (b"abc", b"")}
    assert counts.rows == {"written": 3}


def test_the_share_is_exact_and_rows_are_there_in_time(tmp_path: Path) -> None:
    made, _ = recorder(tmp_path, share=0.25, seconds=0.1)
    assert sum(made.begin() is not None for _ in range(100)) == 25
    offer_one = next(seen for seen in iter(made.begin, object()) if seen is not None)
    offer_one.facts = FACTS
    made.offer(offer_one, b"abc", lambda: ANSWER)
    wait(lambda: rows_in(tmp_path))
    made.close()


def test_what_is_too_much_is_dropped_counted_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_TICK_SECONDS", 3600)
    monkeypatch.setattr(module, "_WAKE_BYTES", 10**12)
    made, counts = recorder(tmp_path)
    for _ in range(QUEUE_ROWS + 7):
        offer(made, b"")
    assert counts.rows == {"dropped": 7}
    made.close()
    assert counts.rows == {"dropped": 7, "written": QUEUE_ROWS}
    assert [record.getMessage()[:28] for record in caplog.records] == ["the record does not keep up,"]
    made, counts = recorder(tmp_path / "b")
    third = bytes(QUEUE_BYTES // 3)
    for _ in range(5):
        offer(made, third)
    assert counts.rows == {"dropped": 2}
    made.close()


def test_a_disk_that_fails_stops_the_record_which_goes_on_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.5)
    (tmp_path / "rows").write_text("in the way")
    made, counts = recorder(tmp_path, seconds=0.01)
    for _ in range(3):
        offer(made, b"abc")
    wait(lambda: counts.rows["failed"] >= 3)
    offer(made, b"abc")  # nothing is tried for a while
    assert counts.rows == {"failed": 4}
    time.sleep(0.6)
    offer(made, b"abc")
    wait(lambda: counts.rows["failed"] >= 5)
    (said,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert said.getMessage().startswith("the record cannot be written, so answers go on without it")
    time.sleep(0.6)
    (tmp_path / "rows").unlink()
    offer(made, b"abc")
    wait(lambda: counts.rows["written"])
    made.close()
    assert counts.rows == {"failed": 5, "written": 1}
    assert caplog.records[-1].getMessage() == "the record is written again"
    assert len(rows_in(tmp_path)) == 1


def test_a_record_keeps_to_its_size_and_the_oldest_images_go_first(tmp_path: Path) -> None:
    made, counts = recorder(tmp_path, images=True, seconds=0.01, most=150_000)
    noise = [bytes(range(256)) * 60 + bytes([n]) for n in range(12)]
    for n, image in enumerate(noise, 1):
        offer(made, image)
        wait(lambda n=n: counts.rows["written"] == n)  # type: ignore[misc]
    made.close()
    kept = [
        row["image"] for path in sorted(tmp_path.glob("images/*")) for row in pq.read_table(path).to_pylist()
    ]
    assert 0 < len(kept) < 12
    assert kept == noise[-len(kept) :]
    assert len(rows_in(tmp_path)) == 12
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.parquet")) <= 150_000
    remove_oldest(str(tmp_path), 1)
    assert parts_of(str(tmp_path), "rows") == parts_of(str(tmp_path), "images") == []


def test_what_a_killed_writer_left_is_removed_in_time(tmp_path: Path) -> None:
    (tmp_path / "_tmp").mkdir()
    for name, age in (("old", 4000), ("new", 60)):
        (tmp_path / "_tmp" / name).write_bytes(b"half")
        os.utime(tmp_path / "_tmp" / name, (time.time() - age,) * 2)
    made, _ = recorder(tmp_path)
    offer(made, b"abc")
    made.close()
    assert [path.name for path in (tmp_path / "_tmp").iterdir()] == ["new"]


def test_a_store_is_written_as_a_folder_is() -> None:
    with s3_server():
        made, counts = recorder("s3://bucket/record", images=True)
        offer(made, b"abc")
        made.close()
        assert counts.rows == {"written": 1}
        (rows,) = parts_of("s3://bucket/record", "rows")
        (images,) = parts_of("s3://bucket/record", "images")
        assert rows.name == images.name
        remove_oldest("s3://bucket/record", rows.bytes)
        assert not parts_of("s3://bucket/record", "images")


def test_what_cannot_be_a_record_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = refusal(UsageError, check_record, load_settings(record=str(tmp_path / "file" / "below")))
    assert message.startswith(f"the record {tmp_path}/file/below cannot be written: Not a directory")
    alone = refusal(UsageError, check_record, load_settings(record_images=True))
    assert alone.startswith("the setting record_images keeps the images of a record, and none is named")
    for place in ("https://host/r", "nothing://host/r"):
        said = refusal(UsageError, check_record, load_settings(record=place))
        assert said.startswith(f"the record cannot be written to {place.partition(':')[0]}://")
    check_record(load_settings(record="s3://nobody/answers/yet"))
    told = load_settings(record="s3://key:secret@bucket/r", record_share=0.1, record_images=True)
    assert record_sentences(told) == [
        "a share of 0.1 of the answers is recorded with the image in s3://bucket/r"
    ]
    wrong = refusal(UsageError, load_settings, record="r", record_max="much")
    assert wrong.startswith("the setting record_max (--record-max) is not valid")
    assert load_settings(record="r", record_max="2.5G").record_max == 2_500_000_000


@pytest.mark.parametrize(("written", "expected"), [("r", "{folder}/r"), ("s3://bucket/r", "s3://bucket/r")])
def test_a_folder_in_a_settings_file_counts_from_there(tmp_path: Path, written: str, expected: str) -> None:
    (tmp_path / "p.toml").write_text(f'record = "{written}"\nrecord_max = "2G"\n')
    settings = load_settings(tmp_path / "p.toml")
    assert (settings.record, settings.record_max) == (expected.format(folder=tmp_path), 2_000_000_000)
