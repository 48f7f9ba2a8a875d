"""What README.md and docs/clients.md tell a newcomer to type works, with one export of the default model."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from support import pages

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CLIENTS = ROOT / "docs" / "clients.md"

# Not typed here: what installs, whose words are checked below, and the export, which `reader` has typed.
NOT_TYPED = ("make ", "source ", "pinnace export ")

NEEDS_CURL = pytest.mark.skipif(shutil.which("curl") is None, reason="the pages use curl")


def blocks_of_python(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def served(reader: Any) -> Any:
    """The reader, once the first command of docs/clients.md has started the server."""
    serve, *_ = pages.commands(CLIENTS)
    reader.type(serve)
    return reader


@NEEDS_CURL
def test_what_the_readme_types_works(reader: Any) -> None:
    typed = [command for command in pages.commands(README) if not command.startswith(NOT_TYPED)]
    assert len(typed) == 8
    for command in typed:
        printed = reader.type(command)
        if command.startswith("curl "):
            assert len(json.loads(printed)["predictions"]) == 1
    (code,) = blocks_of_python(README)
    done = reader.run([sys.executable, "-c", code.replace(pages.DOCUMENTED, reader.url)])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "Egyptian cat"
    reader.check_outputs(README)


def test_the_first_commands_are_the_two_that_a_fresh_machine_needs() -> None:
    assert pages.commands(README)[:2] == ["make serve", "make test"]


def test_make_has_the_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [command.split()[1] for command in pages.commands(README) if command.startswith("make ")]
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE), target


@NEEDS_CURL
def test_what_the_page_of_the_clients_types_works(served: Any) -> None:
    _, *typed = pages.commands(CLIENTS)
    assert len(typed) == 10
    for command in typed:
        printed = served.type(command)
        if "/classify" in command:
            answer = json.loads(printed)
            assert [len(one["predictions"]) for one in answer.get("results", [answer])] in ([1], [5, 5])
        elif command.endswith("/models"):
            assert [model["name"] for model in json.loads(printed)["models"]] == ["efficientnet_lite0"]
    served.check_outputs(CLIENTS)
    rows = [json.loads(line) for line in (served.folder / "rows.jsonl").read_text().splitlines()]
    assert [row["image"] for row in rows] == [
        f"models/photographs/{name}.jpg" for name in ("cat", "coffee", "rocket")
    ]
    described = set(re.findall(r"^\| `(\w+)`", CLIENTS.read_text(encoding="utf-8"), re.MULTILINE))
    assert {"image", "predictions", "timing_ms", "error"} <= described


def test_the_python_of_the_clients_works(served: Any) -> None:
    printed = []
    for block in blocks_of_python(CLIENTS):
        done = served.run([sys.executable, "-c", block.replace(pages.DOCUMENTED, served.url)])
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.splitlines())
    first, second, third = printed
    assert len(first) == 3
    assert all(re.fullmatch(r"\S+ .+ [\d.]+%?", line) for line in first), first
    assert len(second[0].split()) >= 2
    assert second[0].startswith(f"{third[0]} ")
    assert third[1] == "the bytes are not of an accepted image type"
