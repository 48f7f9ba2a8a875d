"""What a contributor meets first: hooks, workflow and issue forms agree with the Makefile and the README."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pinnace.models.toml import read_toml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT: Any = read_toml(ROOT / "pyproject.toml", "project")["project"]
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
SCHEMAS = {
    ROOT / ".github" / "workflows" / "ci.yml": "vendor.github-workflows",
    ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml": "vendor.github-issue-config",
} | dict.fromkeys(FORMS, "vendor.github-issue-forms")


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def recipe(target: str) -> list[str]:
    """The commands of a target, as they are typed in the checkout."""
    (body,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in body.splitlines()]


def minor(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_the_hooks_are_the_commands_of_make_lint() -> None:
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == recipe("lint")
    assert not any(hook["pass_filenames"] for hook in repository["hooks"])


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: str(path.name))
def test_the_files_for_github_fit_its_schemas(path: Path) -> None:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[path], str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_types_the_two_commands_of_the_readme() -> None:
    jobs = read(".github/workflows/ci.yml")["jobs"]
    typed = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert "make test" in typed
    assert any(command.startswith("make serve &") for command in typed)
    for target in re.findall(r"^make ([\w-]+)", "\n".join(typed), re.MULTILINE):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_every_python_that_may_install_pinnace_is_tested() -> None:
    tested = read(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    least, below = re.findall(r"\d+\.\d+", PROJECT["requires-python"])
    prefix = "Programming Language :: Python :: "
    declared = [line.removeprefix(prefix) for line in PROJECT["classifiers"] if line.startswith(prefix)]
    assert tested == declared
    assert minor(tested[0]) == minor(least)
    assert minor(tested[-1])[1] + 1 == minor(below)[1]
    (checked,) = re.findall(r"not \((.*)\) <= sys.version_info < \((.*)\)\)", MAKEFILE)
    assert [bound.replace(", ", ".") for bound in checked] == [least, below]
    assert f"Python {tested[0]} to {tested[-1]}" in MAKEFILE
    assert f"Python {tested[0]} to {tested[-1]}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_extra_of_the_workflow_and_makefile_exists() -> None:
    extras = set(PROJECT["optional-dependencies"])
    for group in re.findall(r"'\.\[([\w,]+)\]'", MAKEFILE):
        assert set(group.split(",")) <= extras, group


def test_the_tests_of_the_thin_set_exist() -> None:
    (paths,) = re.findall(r"^THIN_TESTS := \$\(addprefix tests/, ((?:.*\\\n)*.*)\)$", MAKEFILE, re.MULTILINE)
    names = paths.replace("\\\n", " ").split()
    assert len(names) > 5
    for name in names:
        assert (ROOT / "tests" / name).exists(), name


def test_addresses_are_those_of_one_repository() -> None:
    home = PROJECT["urls"]["Homepage"]
    pages = [*ROOT.glob("*.md"), *(ROOT / ".github").rglob("*.yml")]
    written = [*PROJECT["urls"].values(), *(path.read_text(encoding="utf-8") for path in pages)]
    found = re.findall(r"https://github\.com/[\w-]*pinnace[\w-]*/[\w-]+", "\n".join(written))
    assert len(found) > 4
    assert set(found) == {home}
    for url in re.findall(r"/blob/main/([\w./-]+)", "\n".join(written)):
        assert (ROOT / url).exists(), url


def test_the_examples_for_contributors_pass_the_linter() -> None:
    """They go without docstrings; that they work is for tests/integration/test_one_new_file.py to say."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    examples = re.findall(r"`([\w/]+\.py)`:\n\n```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(examples) == 4
    for name, code in examples:
        for words in (["check", "--ignore", "D1"], ["format", "--check"]):
            command = [sys.executable, "-m", "ruff", *words, "--stdin-filename", name, "-"]
            done = subprocess.run(command, input=code, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
