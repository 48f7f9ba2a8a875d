"""What is used of BentoML, circus and uvicorn without their promise is there, and stands in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinnace.serving.bentoml.private_names import PRIVATE_NAMES, PrivateName

REPOSITORY = Path(__file__).parents[3]
FENCE = REPOSITORY / "serving" / "bentoml"
PRIVATE = ("bentoml._internal", "bentoml.serving", "_bentoml_impl", "_bentoml_sdk", "circus", "uvicorn")


@pytest.mark.parametrize("name", PRIVATE_NAMES, ids=lambda name: f"{name.module}.{name.name}")
def test_the_installed_version_has_it(name: PrivateName) -> None:
    assert name.missing() is None


@pytest.mark.parametrize(
    ("module", "name"), [("circus.sighandler", "SysHandler.handle_nothing"), ("circus.none", "SysHandler")]
)
def test_a_name_that_is_gone_is_said_with_the_version(module: str, name: str) -> None:
    missing = PrivateName("bentoml", module, name, "SIGHUP reloads").missing()
    assert missing is not None
    assert missing.startswith("bentoml ")
    assert f"has no {module}.{name}" in missing
    assert missing.endswith("SIGHUP reloads")


def imports(file: Path) -> Iterator[tuple[str, str]]:
    """Each private module that a file imports, with the name that it takes from it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [(node.module or "", alias.name) for alias in node.names]
        else:
            continue
        yield from ((module, name) for module, name in found if is_private(module))


def is_private(module: str) -> bool:
    return any(module == private or module.startswith(f"{private}.") for private in PRIVATE)


def test_no_other_code_imports_what_is_private() -> None:
    wings = ("models", "export", "latency", "serving", "clients", "cli")
    files = [file for wing in wings for file in (REPOSITORY / wing).rglob("*.py")]
    assert len(files) > 100
    outside = [file for file in files if FENCE not in file.parents and list(imports(file))]
    assert outside == []


def test_every_import_behind_the_fence_is_in_the_table() -> None:
    known = [f"{entry.module}.{entry.name}" for entry in PRIVATE_NAMES]
    taken = {pair for file in FENCE.glob("*.py") for pair in imports(file)}
    assert taken
    for module, name in taken:
        path = f"{module}.{name}".rstrip(".")
        assert any(entry == path or entry.startswith(f"{path}.") for entry in known), path
