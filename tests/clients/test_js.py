"""The JavaScript client: its own tests, run by Node.js against a real server, and what npm would publish."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pinnace.models.toml import read_toml
from support.server import Server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "js"


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js, of a version that the client is made for."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node.js is not installed; on Debian: apt-get install nodejs")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip().lstrip("v").partition(".")[0]) < 18:
        pytest.skip(f"the JavaScript client needs Node.js 18 or later, not {version.strip()}")
    return program


def test_its_own_tests_pass_and_none_is_left_out(node: str, server: Server) -> None:
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap"],
        cwd=PACKAGE,
        env={**os.environ, "PINNACE_URL": server.url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(re.findall(r"^# (pass|fail|skipped) (\d+)$", done.stdout, re.MULTILINE))
    written = "\n".join(file.read_text(encoding="utf-8") for file in (PACKAGE / "test").glob("*.test.js"))
    assert counts["fail"] == "0"
    assert counts["skipped"] == "0"
    assert int(counts["pass"]) >= len(re.findall(r"^ *test\(", written, re.MULTILINE))


def test_npm_would_publish_the_client_its_types_and_nothing_else(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    done = subprocess.run(
        [npm, "pack", "--dry-run", "--json"],
        cwd=PACKAGE,
        env={**os.environ, "npm_config_cache": str(tmp_path), "npm_config_offline": "true"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (packed,) = json.loads(done.stdout)
    files = {entry["path"] for entry in packed["files"]}
    assert files == {"LICENSE", "README.md", "package.json", "pinnace.d.ts", "pinnace.js"}
    assert packed["name"] == "pinnace-client"


def test_the_package_says_what_the_project_says() -> None:
    package = json.loads((PACKAGE / "package.json").read_text(encoding="utf-8"))
    project = read_toml(ROOT / "pyproject.toml", "project")["project"]
    assert isinstance(project, dict)
    assert (package["version"], package["license"]) == (project["version"], project["license"])
    assert (PACKAGE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "dependencies" not in package
    named = [package["main"], package["types"], *package["files"]]
    assert all((PACKAGE / name).is_file() for name in named)


def test_the_example_in_its_readme_works(node: str, server: Server, tmp_path: Path) -> None:
    readme = (PACKAGE / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```js\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert "http://localhost:3000" in example
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "pinnace-client").symlink_to(PACKAGE)
    (tmp_path / "example.mjs").write_text(example.replace("http://localhost:3000", server.url))
    shutil.copy(ROOT / "models" / "photographs" / "cat.jpg", tmp_path)
    done = subprocess.run(
        [node, "example.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
