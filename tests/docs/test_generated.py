"""What the scripts docs/make_*.py write is what stands there, and `make docs` runs all of them."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path

import make_settings
import pytest

ROOT = Path(__file__).parents[2]
# A picture is taken of a running server, which differs each time.
SCRIPTS = [path for path in sorted((ROOT / "docs").glob("make_*.py")) if not path.stem.endswith("_picture")]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.stem))
def test_what_a_script_writes_is_up_to_date(script: Path) -> None:
    made = importlib.import_module(script.stem)
    assert made.FILE.read_text(encoding="utf-8") == made.render(), "run: make docs"


def test_make_docs_runs_all_of_them() -> None:
    printed = subprocess.run(
        ["make", "--dry-run", "docs"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"docs/\w+\.py", printed)) == {f"docs/{script.name}" for script in SCRIPTS}


def test_every_setting_has_a_row() -> None:
    written = make_settings.FILE.read_text(encoding="utf-8")
    assert len(re.findall(r"^\| `PINNACE_", written, re.MULTILINE)) == len(make_settings.descriptions())
