"""Class names are read from the files in which people have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pinnace.models.errors import UsageError
from pinnace.models.labels import names_in, read_labels
from support.errors import refusal

NAMES = ("cat", "dog", "fish")
NUMBERED = "the numbers at the beginning of the lines of {} were taken for the indices"
LABEL_MAP = """item { id: 1 name: 'dog' }
item {
  id: 0
  name: 'n02123045'
  display_name: 'cat'
}
item { id: 2 name: "fish" }
"""


@pytest.mark.parametrize(
    "data",
    [
        b"cat\ndog\nfish\n",
        b"cat\ndog\nfish",
        b"cat\r\ndog\r\nfish\r\n",
        b"cat\rdog\rfish\r",
        b"cat\ndog\nfish\n\n\n",
        b" cat\ndog \nfish\t\n",
        b"\xef\xbb\xbfcat\r\ndog\r\nfish\r\n",
        "cat\r\ndog\r\nfish\r\n".encode("utf-16"),
        "cat\ndog\nfish\n".encode("utf-32"),
    ],
    ids=["unix", "no end", "crlf", "cr", "blank end", "spaces", "bom", "utf-16", "utf-32"],
)
def test_text(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "labels.txt").write_bytes(data)
    found = read_labels(tmp_path / "labels.txt")
    assert (found.names, found.notes) == (NAMES, ())


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("cat\r\ndog\r\nfish\r\n".encode(codec))
    assert read_labels(path).names == NAMES
    assert read_labels(path).notes == (f"{path} was read as UTF-16",)


def test_latin_1_is_told(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("chat\npêche\n".encode("latin-1"))
    assert read_labels(path).names == ("chat", "pêche")
    assert read_labels(path).notes == (
        f"{path} is not UTF-8, and was read as Latin-1: see whether the names are right",
    )


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x0b", "\x0c", "\x85", "\x1c"])
def test_what_splits_no_label(tmp_path: Path, mark: str) -> None:
    (tmp_path / "labels.txt").write_text(f"cat\ndo{mark}g\nfish\n", encoding="utf-8")
    assert read_labels(tmp_path / "labels.txt").names == ("cat", f"do{mark}g", "fish")


def test_blank_lines_between_names_and_names_that_come_twice_are_told(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("cat\n\n  \ndog\ncat\n\n")
    found = read_labels(path)
    assert found.names == ("cat", "dog", "cat")
    assert found.notes == (
        f"{path} has 2 blank lines between the names, which were passed over",
        f"{path} has 'cat' more than once",
    )


@pytest.mark.parametrize(
    "text",
    [
        "0 cat\n1 dog\n2 fish\n",
        "2 fish\n0 cat\n1 dog\n",
        "0: cat\n1: dog\n2: fish\n",
        "0,cat\n1,dog\n2,fish\n",
        "0\tcat\n1\tdog\n2\tfish\n",
    ],
)
def test_an_index_on_each_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    found = read_labels(path)
    assert found.names == NAMES
    assert found.notes == (f"the numbers at the beginning of the lines of {path} were taken for the indices",)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("cat,0\nfish,2\ndog,1\n", "a column of {} was taken for the indices"),
        ("id,name\n2,fish\n0,cat\n1,dog\n", "a column of {} was taken for the indices"),
        ("label;index;images\nfish;2;7\ncat;0;9\ndog;1;8\n", "a column of {} was taken for the indices"),
        ("fish 2\ncat 0\ndog 1\n", "the numbers at the end of the lines of {} were taken for the indices"),
        ("cat, dog, fish\n", "the one line of {} was split at its commas"),
        ("0: 'cat',\n2: 'fish'\n1: 'dog',\n", NUMBERED),
        ("0) cat\n1) dog\n2) fish", NUMBERED),
        ("0 - cat\n1 - dog\n2 - fish", NUMBERED),
        ('{"id": 2, "label": "fish"}\n{"id": 0, "label": "cat"}\n{"id": 1, "label": "dog"}\n', None),
        ('[{"index": 1, "class": "dog"}, {"index": 0, "class": "cat"}, {"index": 2, "class": "fish"}]', None),
        ('classes = ["cat", "dog", "fish"]\n', None),
        (LABEL_MAP, None),
        ('"cat"\n"dog"\n"fish"\n', None),
    ],
)  # fmt: skip
def test_an_index_anywhere(tmp_path: Path, text: str, note: str | None) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    found = read_labels(path)
    assert found.names == NAMES
    assert found.notes == ((note.format(path),) if note else ())


@pytest.mark.parametrize(
    "text",
    [
        *("3 doors\n5 doors\n", "0\n1\n2\n", "2 cv\nbus\n", "1 euro\n1 cent\n"),
        *("1 cent\n2 cents\n5 cents\n", "1 star\n2 stars\n3 stars\n", "class 0\nclass 1\n"),
        *("type 1\ntype 0\n", "tench, Tinca tinca\ngoldfish, Carassius auratus\n", "1.5 l\n2.5 l\n"),
    ],
)
def test_numbers_that_are_no_index(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.txt").write_text(text)
    assert read_labels(tmp_path / "labels.txt").names == tuple(text.split("\n")[:-1])


@pytest.mark.parametrize(
    "data",
    [
        ["cat", "dog", "fish"],
        {"0": "cat", "1": "dog", "2": "fish"},
        {"2": "fish", "0": "cat", "1": "dog"},
        {"0": ["n01", "cat"], "1": ["n02", "dog"], "2": ["n03", "fish"]},
        {"cat": 0, "fish": 2, "dog": 1},
        {"names": ["cat", "dog", "fish"], "nc": 3},
        {"id2label": {"0": "cat", "1": "dog", "2": "fish"}, "label2id": {"cat": 0, "dog": 1, "fish": 2}},
        [{"id": 0, "name": "cat"}, {"id": 2, "name": "fish"}, {"id": 1, "name": "dog"}],
    ],
)
@pytest.mark.parametrize("name", ["labels.json", "labels.txt"])
def test_json(tmp_path: Path, data: object, name: str) -> None:
    (tmp_path / name).write_text(json.dumps(data, indent=1))
    found = read_labels(tmp_path / name)
    assert (found.names, found.notes) == (NAMES, ())


def test_a_python_dictionary(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("{0: 'cat',\n 1: \"dog\",\n 2: 'fish'}\n")
    assert read_labels(tmp_path / "labels.txt").names == NAMES


@pytest.mark.parametrize(
    "text",
    [
        "names:\n  0: cat\n  1: dog\n  2: fish\n",
        "path: ../data\nnc: 3\nnames: [cat, dog, fish]\n",
        "- cat\n- dog\n- fish\n",
        "cat: 0\ndog: 1\nfish: 2\n",
    ],
)
def test_yaml(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    found = read_labels(tmp_path / "data.yaml")
    assert (found.names, found.notes) == (NAMES, ())


def test_a_class_called_no_stays_a_word_in_yaml(tmp_path: Path) -> None:
    (tmp_path / "data.yml").write_text("names: [yes, no, 1.0]\n")
    assert read_labels(tmp_path / "data.yml").names == ("yes", "no", "1.0")


def test_folders_that_are_numbers_keep_the_order_of_their_indices() -> None:
    assert names_in({"1": 0, "10": 1, "2": 2}) == ("1", "10", "2")
    assert names_in({"0": "7", "1": "5"}) == ("7", "5")
    assert names_in({"0": 0, "1": 1, "2": 2}) == ("0", "1", "2")
    assert names_in({"0": 1, "1": 0}) == ("1", "0")


def test_indices_that_begin_at_1_are_told() -> None:
    notes: list[str] = []
    assert names_in({str(index): f"n{index}" for index in range(1, 4)}, notes) == ("n1", "n2", "n3")
    assert names_in({str(index): f"n{index}" for index in range(1, 12)}, notes) is not None
    told = "the indices of the class names begin at 1: they are taken in the order of their numbers"
    order = "; torchvision's ImageFolder has folders named so in the order of text (1, 10, 11, ...)"
    assert notes == [told, told + order]


def test_a_name_of_several_lines_becomes_one() -> None:
    assert names_in(["cat\r\nor kitten", "dog\n"]) == ("cat or kitten", "dog")


def test_an_index_that_is_missing_or_comes_twice() -> None:
    assert refusal(UsageError, lambda: names_in({"0": "cat", "2": "fish"})) == (
        "the class names lack the index 1\n  expected: each of 0 to 1 once\n  got: 0, 2"
    )
    assert refusal(UsageError, lambda: names_in({"cat": 0, "dog": 0})).startswith(
        "the class names have the index 0 twice\n"
    )


@pytest.mark.parametrize("data", [{"lr": 0.1}, 3, "cat", [], {}, [["a", 3]], None])
def test_data_that_holds_no_names(data: object) -> None:
    assert names_in(data) is None


def test_a_json_file_that_is_none_or_holds_no_names(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text("[cat, dog")
    assert refusal(UsageError, lambda: read_labels(path)).startswith(
        f"{path} is not valid JSON: Expecting value"
    )
    path.write_text('{"lr": 0.1}')
    assert refusal(UsageError, lambda: read_labels(path)) == (
        f"{path} does not hold a list of class names\n"
        '  expected: ["cat", "dog"], {"0": "cat", "1": "dog"} or {"cat": 0, "dog": 1}, '
        "or one of these under names, class_names, classes"
    )


def test_labels_that_cannot_be_read(tmp_path: Path) -> None:
    assert refusal(UsageError, lambda: read_labels(tmp_path / "none.txt")) == (
        f"{tmp_path}/none.txt cannot be read as labels: "
        f"[Errno 2] No such file or directory: '{tmp_path}/none.txt'"
    )
    (tmp_path / "empty.txt").touch()
    assert refusal(UsageError, lambda: read_labels(tmp_path / "empty.txt")) == (
        f"{tmp_path}/empty.txt holds no labels"
    )
    (tmp_path / "image.txt").write_bytes(b"\xff\xd8\xff")
    assert refusal(UsageError, lambda: read_labels(tmp_path / "image.txt")) == (
        f"{tmp_path}/image.txt cannot be read as labels: "
        "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte\n"
        "  help: write a text file in UTF-8, with one name on each line in the order of the model's outputs"
    )


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04sheet", b"\x80\x04\x95pickle", b"\x1f\x8b\x08gzip", b"\xff\x00\x01\x81"]
)
def test_what_is_not_text_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(data)
    message = refusal(UsageError, lambda: read_labels(path))
    assert message.startswith(f"{path} cannot be read as labels: ")
    assert "help: write a text file in UTF-8, with one name on each line" in message
