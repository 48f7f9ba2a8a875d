"""Files and folders appear whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pinnace.models.errors import UsageError
from pinnace.models.files import new_folder, sha256, write_atomic

MARKER = "manifest.json"


def make_bundle(path: Path, content: str = "old") -> Path:
    path.mkdir()
    (path / MARKER).write_text(content)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_sha256_is_that_of_the_whole_file(tmp_path: Path, size: int) -> None:
    data = b"pinnace" * (size // 7 + 1)
    (tmp_path / "file").write_bytes(data[:size])
    assert sha256(tmp_path / "file") == hashlib.sha256(data[:size]).hexdigest()


def test_write_atomic_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(tmp_path) == ["file"]


def test_write_atomic_leaves_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_write_atomic_leaves_what_stands_there_when_moving_fails(tmp_path: Path) -> None:
    make_bundle(tmp_path / "folder")
    with pytest.raises(OSError, match="folder"):
        write_atomic(tmp_path / "folder", b"new")
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == [MARKER]


def test_a_new_folder_appears_at_the_end_of_the_block(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "er" / "out"
    with new_folder(out, marker=MARKER) as folder:
        (folder / MARKER).write_text("new")
        assert not out.exists()
    assert (out / MARKER).read_text() == "new"
    assert out.stat().st_mode & 0o777 == 0o755
    assert names(out.parent) == ["out"]


def test_a_new_folder_replaces_an_earlier_one_only_at_the_end(tmp_path: Path) -> None:
    out = make_bundle(tmp_path / "out")
    (out / "left-over").touch()
    with new_folder(out, marker=MARKER) as folder:
        (folder / MARKER).write_text("new")
        assert (out / MARKER).read_text() == "old"
    assert (out / MARKER).read_text() == "new"
    assert names(out) == [MARKER]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_new_folder_vanishes_when_the_block_fails(tmp_path: Path, error: type[BaseException]) -> None:
    out = make_bundle(tmp_path / "out")

    def fail() -> None:
        with new_folder(out, marker=MARKER) as folder:
            (folder / MARKER).write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert (out / MARKER).read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_the_earlier_folder_comes_back_when_the_last_move_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = make_bundle(tmp_path / "out")
    rename = Path.rename

    def fails_for_the_new_one(self: Path, target: Path) -> Path:
        if target == out and (self / MARKER).read_text() == "new":
            raise OSError("no space left")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_for_the_new_one)
    with pytest.raises(OSError, match="no space left"), new_folder(out, marker=MARKER) as folder:
        (folder / MARKER).write_text("new")
    assert (out / MARKER).read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out", marker=MARKER) as folder:
        (folder / MARKER).touch()
    assert names(tmp_path / "out") == [MARKER]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_not_ours_is_left_alone(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "thesis"
    if kind == "file":
        out.write_text("precious")
    else:
        out.mkdir()
        (out / "chapter").write_text("precious")
    with pytest.raises(UsageError) as caught, new_folder(out, marker=MARKER):
        pytest.fail("the block must not be entered")
    assert str(caught.value) == (
        f"{out} already exists and was not written by this command, so it was not replaced\n"
        "  help: choose another output path"
    )
    assert (out if kind == "file" else out / "chapter").read_text() == "precious"
    assert names(tmp_path) == ["thesis"]


def test_an_output_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out"
    with pytest.raises(UsageError) as caught, new_folder(out, marker=MARKER):
        pytest.fail("the block must not be entered")
    assert str(caught.value) == (
        f"{out} cannot be written: {tmp_path / 'file'}: File exists\n  help: choose another output path"
    )
