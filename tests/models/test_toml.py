"""TOML files of users: read, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

from pinnace.models.errors import UsageError
from pinnace.models.toml import read_toml
from support.errors import refusal


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    path.write_text('name = "ünï"\n[table]\nnumbers = [1, 2.5]\n', encoding="utf-8")
    assert read_toml(path, "target") == {"name": "ünï", "table": {"numbers": [1, 2.5]}}


def test_a_missing_file(tmp_path: Path) -> None:
    assert (
        refusal(UsageError, read_toml, tmp_path / "none.toml", "target")
        == f"there is no target file {tmp_path / 'none.toml'}"
    )


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert refusal(UsageError, read_toml, tmp_path, "target") == f"there is no target file {tmp_path}"


def test_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    path.write_text("crop = [224")
    assert refusal(UsageError, read_toml, path, "target").startswith(
        f"{path} is not valid TOML: Unclosed array (at end of document)"
    )


def test_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    path.write_bytes(b'name = "\xff"')
    assert refusal(UsageError, read_toml, path, "target") == (
        f"{path} is not valid TOML: 'utf-8' codec can't decode byte 0xff in position 8: invalid start byte"
    )
