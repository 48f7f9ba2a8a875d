"""Which images a run on a cluster is given: folders, patterns and lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pinnace.cli.cluster.inputs import paths_of
from pinnace.models.errors import UsageError
from support.errors import error_of

NAMES = ["b.jpg", "a.JPG", "sub/c.png", "sub/.hidden.png", "notes.txt", "a/z.webp"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "photos"


def names(*inputs: object, column: str | None = None) -> list[str]:
    return list(paths_of([str(one) for one in inputs], column))


def refused(*inputs: object, column: str | None = None) -> UsageError:
    return error_of(UsageError, lambda: names(*inputs, column=column))


def parquet(path: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_a_folder_gives_its_images_sorted_and_a_pattern_what_it_matches(photos: Path) -> None:
    expected = [str(photos / name) for name in ("a.JPG", "a/z.webp", "b.jpg", "sub/c.png")]
    assert names(photos) == expected
    assert names(f"file://{photos}") == expected
    assert names(photos / "**" / "*.[jpw]*") == expected[1:]
    assert names(photos / "sub", photos / "b.jpg", photos / "b.jpg") == [
        expected[3],
        expected[2],
        expected[2],
    ]
    assert names(photos / "*.gif") == []


def test_lists_give_the_paths_that_stand_in_them(photos: Path, tmp_path: Path) -> None:
    paths = names(photos)
    text = tmp_path / "list.txt"
    text.write_text("\n".join(paths) + "\n\n")
    assert names(text) == paths
    text.write_bytes("\r\n".join(["\ufeffphotos/b.jpg", "s3://bucket/x.jpg", "./photos/../y.jpg"]).encode())
    assert names(text) == [paths[2], "s3://bucket/x.jpg", str(tmp_path / "y.jpg")]
    comma = tmp_path / "list.csv"
    comma.write_text("id,path\n" + "".join(f'{n},"{path}"\n' for n, path in enumerate(paths)) + "7\n8,\n")
    assert names(comma) == paths
    assert names(parquet(tmp_path / "list.parquet", place=paths, id=[1, 2, 3, 4]), column="place") == paths
    coded = pyarrow.array([*paths, None, paths[0]]).dictionary_encode()
    assert names(parquet(tmp_path / "coded.parquet", url=coded, other=[0] * 6)) == [*paths, paths[0]]


def test_a_pattern_of_lists_gives_what_stands_in_each(photos: Path, tmp_path: Path) -> None:
    paths = names(photos)
    (tmp_path / "lists").mkdir()
    parquet(tmp_path / "lists" / "1.parquet", uri=paths[:1])
    parquet(tmp_path / "lists" / "2.parquet", uri=paths[1:])
    assert names(tmp_path / "lists" / "*.parquet") == paths


def test_a_list_that_is_none_is_refused_with_the_reason(tmp_path: Path) -> None:
    table = parquet(tmp_path / "list.parquet", place=["a"], id=[1])
    error = refused(table)
    assert error.message == f"which column of {table} has the paths is not clear"
    assert error.expected == "one of place, id"
    error = refused(table, column="id")
    assert error.message == f"the column id of {table} has no text"
    assert (error.expected, error.got) == ("string", "int64")
    comma = tmp_path / "list.csv"
    comma.write_text("id,path\n1,a.jpg\n")
    assert refused(comma, column="id2").message == f"{comma} has no column id2"
    comma.write_text("a.jpg\nb.jpg\n")
    error = refused(comma)
    assert error.message == f"the first line of {comma} has a path where the names of the columns should be"
    comma.write_text("path\na.jpg\n" + "x" * 200_000 + "\n")
    assert (
        refused(comma).message == f"{comma} is not a CSV file: line 3: field larger than field limit (131072)"
    )
    (tmp_path / "no.parquet").write_text("no")
    assert refused(tmp_path / "no.parquet").message.startswith(
        f"{tmp_path}/no.parquet is not a Parquet file: "
    )
    missing = tmp_path / "missing.txt"
    assert refused(missing).message == f"{missing} cannot be reached: No such file or directory"
