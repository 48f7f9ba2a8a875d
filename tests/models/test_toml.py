"""TOML files of users: read, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinnace.models.errors import UsageError
from pinnace.models.toml import read_toml


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_toml(path, "target")
    return str(caught.value)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    path.write_text('name = "ünï"\n[table]\nnumbers = [1, 2.5]\n', encoding="utf-8")
    assert read_toml(path, "target") == {"name": "ünï", "table": {"numbers": [1, 2.5]}}


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.toml") == f"there is no target file {tmp_path / 'none.toml'}"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"there is no target file {tmp_path}"


def test_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    path.write_text("crop = [224")
    assert refusal(path).startswith(f"{path} is no TOML: Unclosed array (at end of document)")


def test_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    path.write_bytes(b'name = "\xff"')
    assert refusal(path) == (
        f"{path} is no TOML: 'utf-8' codec can't decode byte 0xff in position 8: invalid start byte"
    )
