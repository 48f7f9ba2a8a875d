"""Rows that are written, cut off, and read again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pinnace.cli.classify.row_file import RowFile
from pinnace.cli.classify.row_formats import Csv, Finished, JsonLines, Outcome, RowFormat
from pinnace.models.answer import Answer, Prediction, Timing
from pinnace.models.errors import ImageError, UsageError

ANSWER = Answer(
    "m",
    "onnx-fp32",
    "r",
    (Prediction('a "red", one', 7, 0.5), Prediction("b", 1, 0.25)),
    Timing(1, 2, 3, 4, 5),
)
ERROR = ImageError("no\nimage", hint="another")
# Names that are hard to write: quotes, a comma, other alphabets, a byte that is not UTF-8.
NAMES = ["plain.jpg", 'q"u,o".jpg', "caf\xe9 \u732b.jpg", "raw-\udcff.jpg", " .jpg"]
FORMATS: list[RowFormat] = [JsonLines(), Csv(3)]

each_format = pytest.mark.parametrize("format", FORMATS, ids=["jsonl", "csv"])


def write(path: Path, format: RowFormat, *rows: tuple[str, Outcome], resume: bool = False) -> list[Finished]:
    earlier: list[Finished] = []
    with RowFile(path, format, resume=resume, each=earlier.append) as file:
        for image, outcome in rows:
            file.write(image, outcome)
    return earlier


@each_format
def test_what_was_written_is_read_again(tmp_path: Path, format: RowFormat) -> None:
    path = tmp_path / "rows"
    rows: list[tuple[str, Outcome]] = [(name, ANSWER) for name in NAMES]
    write(path, format, *rows, ("bad.jpg", ERROR))
    earlier = write(path, format, resume=True)
    made_by = ("m", "onnx-fp32")
    assert earlier == [
        *(Finished(name, ('a "red", one',), made_by) for name in NAMES),
        Finished("bad.jpg", None, None),
    ]


@each_format
def test_a_row_cut_off_anywhere_is_taken_away(tmp_path: Path, format: RowFormat) -> None:
    path = tmp_path / "rows"
    write(path, format, ("a.jpg", ANSWER), (NAMES[2], ANSWER))
    whole = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        earlier = write(path, format, resume=True)
        kept = sum(end <= cut for end in ends) - bool(format.header)
        assert len(earlier) == max(0, kept), cut
        # Going on from there ends in the very file that was never cut.
        write(path, format, *[("a.jpg", ANSWER), (NAMES[2], ANSWER)][len(earlier) :], resume=True)
        assert path.read_bytes() == whole, cut


@each_format
def test_every_row_is_on_disk_at_once(tmp_path: Path, format: RowFormat) -> None:
    path = tmp_path / "rows"
    with RowFile(path, format, resume=False) as file:
        for count in range(1, 4):
            file.write("a.jpg", ANSWER)
            assert path.read_bytes().count(b"\n") == count + bool(format.header)


@each_format
def test_a_file_that_holds_something_is_left_alone(tmp_path: Path, format: RowFormat) -> None:
    path = tmp_path / "rows"
    write(path, format, ("a.jpg", ANSWER))
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        write(path, format)
    assert str(caught.value) == (
        f"{path} already exists and is not empty\n  help: continue it with --resume, or choose another file"
    )
    assert path.read_bytes() == before


@each_format
@pytest.mark.parametrize(
    "content",
    [b"my notes", b"my notes\n", b'{"a": 1}\n', b"[1]\n", b"\0\0\0\0", b"a,b\n1,2\n", b'"image"\n', b"3\n"],
)
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, format: RowFormat, content: bytes) -> None:
    path = tmp_path / "rows"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"is not a row in this format|has other columns"):
        write(path, format, resume=True)
    assert path.read_bytes() == content


def test_a_broken_row_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write(path, JsonLines(), ("a.jpg", ANSWER), ("b.jpg", ANSWER))
    path.write_bytes(path.read_bytes().replace(b'"predictions"', b'"predic', 1))
    with pytest.raises(UsageError) as caught:
        write(path, JsonLines(), resume=True)
    assert str(caught.value).startswith(
        f"line 1 of {path} is not a row in this format, so the file was not changed\n"
    )


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write(path, Csv(1), ("a.jpg", ANSWER))
    with pytest.raises(UsageError) as caught:
        write(path, Csv(2), resume=True)
    assert str(caught.value) == (
        f"{path} has other columns than this run would write\n"
        "  expected: image,model,variant,runtime,total_ms,label_1,index_1,probability_1,"
        "label_2,index_2,probability_2,error_code,error_message\n"
        "  got: image,model,variant,runtime,total_ms,label_1,index_1,probability_1,error_code,error_message\n"
        "  help: give the same --top-k as before, or choose another file"
    )


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with RowFile(path, JsonLines(), resume=False), pytest.raises(UsageError) as caught:
        RowFile(path, JsonLines(), resume=True)
    assert str(caught.value) == f"another run is writing {path}\n  help: wait for it, or choose another file"


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        RowFile(tmp_path / "no" / "rows.jsonl", JsonLines(), resume=False)
    assert caught.value.message == f"{tmp_path}/no/rows.jsonl cannot be written: No such file or directory"
    with (
        pytest.raises(UsageError, match=r"/dev/full cannot be written: No space left on device"),
        RowFile(Path("/dev/full"), JsonLines(), resume=False) as file,
    ):
        file.write("a.jpg", ANSWER)


def test_the_two_formats_in_full() -> None:
    line = JsonLines().line("a.jpg", ANSWER)
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "image": "a.jpg",
        "model": "m",
        "variant": "onnx-fp32",
        "runtime": "r",
        "predictions": [
            {"label": 'a "red", one', "index": 7, "probability": 0.5},
            {"label": "b", "index": 1, "probability": 0.25},
        ],
        "timing_ms": {"decode": 1, "preprocess": 2, "queue": 3, "infer": 4, "total": 5},
        "version": "",
    }
    assert json.loads(JsonLines().line("b.jpg", ERROR)) == {
        "image": "b.jpg",
        "error": {"code": "undecodable_image", "message": "no\nimage", "hint": "another"},
    }
    csv = Csv(2)
    assert csv.line("a.jpg", ANSWER) == 'a.jpg,m,onnx-fp32,r,5,"a ""red"", one",7,0.5,b,1,0.25,,\n'
    assert csv.line("b.jpg", ERROR) == "b.jpg,,,,,,,,,,,undecodable_image,no image\n"
    with pytest.raises(UsageError) as caught:
        csv.check_name("a\nb.jpg")
    assert str(caught.value) == (
        "'a\\nb.jpg' has a line break, and a row of CSV is one line\n  help: write .jsonl"
    )
