"""The wheel holds every file of the four folders; an undeclared sub-package would silently be missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
ROOMS = ("models", "export", "latency", "serving", "clients", "cli")
NOT_PYTHON = "js"  # the JavaScript client is a package of its own


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's packages in a folder of their own, because setuptools builds inside the tree."""
    folder = tmp_path_factory.mktemp("tree")
    for room in ROOMS:
        # `clients/js` is a package of its own, for npm; what serving has of it is a link, copied as a file.
        shutil.copytree(
            REPOSITORY / room,
            folder / room,
            # The compiled module and its source are left out of the wheel for every machine.
            ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "js", "*.c", "*.h", "*.so"),
        )
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / file, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    # Not imported here: what other tests have imported may stand in its way.
    if int(version("setuptools").partition(".")[0]) < 77:
        pytest.skip("needs setuptools 77")
    out = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("pinnace-*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_what_the_folders_hold(tree: Path, wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if not name.partition("/")[0].endswith(".dist-info")}
    assert packed == {f"pinnace/{room}/{name}" for room in ROOMS for name in names(tree / room)}


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_that_it_has_types(wheel: zipfile.ZipFile, room: str) -> None:
    assert f"pinnace/{room}/py.typed" in wheel.namelist()


def test_the_parent_is_a_namespace_and_nothing_else_is_installed(wheel: zipfile.ZipFile) -> None:
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"pinnace"}
    assert "pinnace/__init__.py" not in wheel.namelist()


def test_the_command_is_declared(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert wheel.read(name).decode().split() == [
        "[console_scripts]",
        "pinnace",
        "=",
        "pinnace.cli.main:main",
    ]
