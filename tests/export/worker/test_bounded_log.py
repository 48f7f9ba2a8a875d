"""What a child prints is kept, up to a limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pinnace.export.worker import bounded_log


def kept(code: str, path: Path) -> bytes:
    with subprocess.Popen([sys.executable, "-uc", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        bounded = bounded_log.BoundedLog(process.stdout, path)
        process.wait(30)
        bounded.close(10)
    return path.read_bytes()


def test_all_of_it_is_kept(tmp_path: Path) -> None:
    assert kept("print('one'); print('two')", tmp_path / "log") == b"one\ntwo\n"
    assert kept("", tmp_path / "log") == b""


def test_of_a_flood_the_beginning_and_the_end_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_log, "FIRST", 1 << 18)
    monkeypatch.setattr(bounded_log, "LAST", 1 << 17)
    data = kept("print('begin'); print('x' * 3_000_000); print('end')", tmp_path / "log")
    assert data.startswith(b"begin\nxxx")
    assert data.endswith(b"xxx\nend\n")
    assert b" bytes were left out]\n" in data
    assert len(data) < 700_000
