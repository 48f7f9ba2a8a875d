"""Vectors that are written, cut off, and continued."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from pinnace.cli.classify.row_formats import Finished
from pinnace.cli.classify.write_rows import Rows
from pinnace.cli.embed.numpy_file import maker_of, names_of
from pinnace.cli.embed.rows import rows_for
from pinnace.models.answer import Embedding, Timing
from pinnace.models.errors import ImageError, UsageError
from support.errors import refusal

# Names that are hard to write: quotes, a comma, another alphabet, a byte that is not UTF-8, a space.
NAMES = ["plain.jpg", 'q"u,o".jpg', "caf\xe9 \u732b.jpg", "raw-\udcff.jpg", " .jpg", "last.jpg"]
VECTORS = np.random.default_rng(0).normal(size=(len(NAMES), 7)).astype(np.float32)
SUFFIXES = (".npy", ".parquet", ".jsonl")

each_suffix = pytest.mark.parametrize("suffix", SUFFIXES)


def embedding(vector: np.ndarray, model: str = "m") -> Embedding:
    numbers = tuple(map(float, vector))
    return Embedding(model, "onnx-fp32", "r", numbers, False, Timing(1, 2, 3, 4, 5), "v1")


def rows(path: Path, *, resume: bool = False, dtype: str = "float32") -> Rows[Embedding]:
    return rows_for(path, dtype, resume=resume)


def write(
    path: Path, start: int, stop: int, *, resume: bool = False, dtype: str = "float32"
) -> list[Finished]:
    """Write some of the vectors; what was there before."""
    earlier: list[Finished] = []
    with rows(path, resume=resume, dtype=dtype).open(earlier.append) as sink:
        for name, vector in list(zip(NAMES, VECTORS, strict=True))[start:stop]:
            sink.write("unreadable.jpg", ImageError("no image"))
            sink.write(name, embedding(vector))
    return earlier


def stored(path: Path) -> tuple[list[str], np.ndarray]:
    """Names, and vectors."""
    import json

    if path.suffix == ".npy":
        names = names_of(path).read_bytes().decode("utf-8", "surrogateescape").split("\n")[:-1]
        return names, np.load(path)
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        return table["image"].to_pylist(), np.array(table["embedding"].to_pylist(), np.float32)
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [line["image"] for line in lines], np.float32([line["embedding"] for line in lines])


def as_stored(path: Path, names: list[str]) -> list[str]:
    if path.suffix != ".parquet":
        return names
    return [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in names]


@each_suffix
def test_what_is_continued_is_what_one_run_writes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    assert write(path, 0, 3) == []
    earlier = write(path, 3, 6, resume=True)
    assert earlier == [Finished(name, (), ("m", "onnx-fp32")) for name in NAMES[:3]]
    names, vectors = stored(path)
    assert names == as_stored(path, NAMES)
    np.testing.assert_array_equal(vectors, VECTORS)
    assert len(write(path, 0, 0, resume=True)) == 6
    np.testing.assert_array_equal(stored(path)[1], VECTORS)
    if suffix == ".parquet":
        metadata = pyarrow.parquet.read_schema(path).metadata
        wanted = {b"model": b"m", b"version": b"v1", b"variant": b"onnx-fp32", b"normalised": b"false"}
        assert wanted.items() <= metadata.items()
        assert [each.name for each in tmp_path.iterdir()] == [path.name]


@each_suffix
def test_what_holds_something_is_left_alone_unless_it_is_continued(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    write(path, 0, 2)
    before = path.read_bytes()
    assert refusal(UsageError, write, path, 0, 2) == (
        f"{path} already exists and is not empty\n  help: continue it with --resume, or choose another file"
    )
    assert path.read_bytes() == before


@each_suffix
def test_nothing_is_left_of_a_run_without_a_vector(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"v{suffix}", 0, 0)
    assert [path.name for path in tmp_path.iterdir() if path.stat().st_size] == []


@each_suffix
def test_an_interrupted_run_is_continued(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    opened = rows(path).open(lambda finished: None)
    opened.__enter__().write(NAMES[0], embedding(VECTORS[0]))
    interrupt = KeyboardInterrupt()
    assert not opened.__exit__(type(interrupt), interrupt, None)
    assert len(write(path, 1, 6, resume=True)) == 1
    np.testing.assert_array_equal(stored(path)[1], VECTORS)


def test_an_array_is_whole_after_each_row_and_is_continued_wherever_it_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    with rows(path).open(lambda finished: None) as sink:
        for count, (name, vector) in enumerate(zip(NAMES, VECTORS, strict=True), 1):
            sink.write(name, embedding(vector))
            np.testing.assert_array_equal(np.load(path), VECTORS[:count])
    whole, names = path.read_bytes(), names_of(path).read_bytes()
    ends = [index + 1 for index, byte in enumerate(names) if byte == ord("\n")]
    header = len(whole) - VECTORS.nbytes
    for kept in range(1, 6):
        for part in (0, 1, VECTORS[0].nbytes - 1):
            path.write_bytes(whole[: header + kept * VECTORS[0].nbytes + part])
            names_of(path).write_bytes(names[: ends[kept - 1] + min(part, 2)])
            assert len(write(path, kept, 6, resume=True)) == kept
            assert (path.read_bytes(), names_of(path).read_bytes()) == (whole, names)


def test_a_table_of_a_run_that_was_killed_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    write(path, 0, 2)
    earlier = path.read_bytes()
    killed = rows(path, resume=True).open(lambda finished: None)
    sink = killed.__enter__()
    sink.write(NAMES[2], embedding(VECTORS[2]))
    hidden = {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.name.startswith(".")}
    killed.__exit__(None, None, None)
    for name, data in hidden.items():  # as if the process had ended then
        (tmp_path / name).write_bytes(data)
    path.write_bytes(earlier)
    assert len(write(path, 3, 6, resume=True)) == 3
    np.testing.assert_array_equal(stored(path)[1], VECTORS)
    for name, data in hidden.items():
        (tmp_path / name).write_bytes(data)
    write(path, 0, 0, resume=True)  # the rows that it has already are not written twice
    np.testing.assert_array_equal(stored(path)[1], VECTORS)
    for name, data in hidden.items():
        (tmp_path / name).write_bytes(data)
    path.unlink()
    assert refusal(UsageError, write, path, 0, 2) == (
        f"an earlier run of {path} was ended before it wrote the file\n"
        "  help: continue it with --resume, or choose another file"
    )


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_numbers_of_another_type_are_not_mixed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    write(path, 0, 2, dtype="float16")
    assert refusal(UsageError, write, path, 2, 3, resume=True) == (
        f"{path} has numbers of another type\n  expected: float16\n  got: float32\n"
        "  help: give --dtype float16, or choose another file"
    )


def test_what_is_something_else_is_not_changed(tmp_path: Path) -> None:
    for suffix in (".npy", ".parquet"):
        path = tmp_path / f"other{suffix}"
        path.write_bytes(b"something else")
        message = refusal(UsageError, write, path, 0, 1, resume=True)
        assert message.startswith(f"{path} cannot be continued: ")
        assert path.read_bytes() == b"something else"
    path = tmp_path / "plain.npy"
    np.save(path, VECTORS)
    assert refusal(UsageError, write, path, 0, 1, resume=True).startswith(f"{path} cannot be continued: ")
    np.testing.assert_array_equal(np.load(path), VECTORS)
    assert not maker_of(path).exists()
    with pytest.raises(UsageError, match="has a line break, and a name is one line"):
        rows(path).check_name("a\nb.jpg")


def test_a_vector_of_another_length(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    write(path, 0, 2)
    with rows(path, resume=True).open(lambda finished: None) as sink:
        message = refusal(UsageError, sink.write, "x.jpg", embedding(VECTORS[0][:3]))
    assert message == (
        f"the vector of x.jpg has another length than those in {path}\n  expected: 7\n  got: 3\n"
        "  help: choose another file"
    )
    np.testing.assert_array_equal(np.load(path), VECTORS[:2])
