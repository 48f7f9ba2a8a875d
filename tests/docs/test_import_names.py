"""The folders are imported as `pinnace.*` and as nothing else; see docs/adr/0001-import-names.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pinnace.models.toml import read_toml

ROOT = Path(__file__).parents[2]
FOLDERS = ("models", "export", "serving", "clients")


def test_every_package_is_declared() -> None:
    tool = read_toml(ROOT / "pyproject.toml", "project")["tool"]["setuptools"]  # type: ignore[index]
    found = [
        "pinnace." + ".".join(init.parent.relative_to(ROOT).parts)
        for folder in FOLDERS
        for init in (ROOT / folder).rglob("__init__.py")
    ]
    assert sorted(found) == sorted(tool["packages"])
    assert tool["package-dir"] == {f"pinnace.{folder}": folder for folder in FOLDERS}


def test_every_folder_with_modules_is_a_package() -> None:
    for folder in FOLDERS:
        for module in (ROOT / folder).rglob("*.py"):
            assert (module.parent / "__init__.py").is_file(), module


def test_no_name_of_ours_stands_at_the_top_level(tmp_path: Path) -> None:
    look = f"import importlib.util as u; print([n for n in {FOLDERS} if u.find_spec(n)])"
    done = subprocess.run(
        [sys.executable, "-I", "-c", look], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_type_checker_sees_every_folder() -> None:
    for folder in FOLDERS:
        assert (ROOT / ".typing" / "pinnace" / folder).resolve() == (ROOT / folder).resolve()
