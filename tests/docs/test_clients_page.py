"""Everything that docs/clients.md shows is run against a real server."""

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
CLIENTS = ROOT / "docs" / "clients.md"


@pytest.fixture(scope="module")
def served(reader: Any) -> Any:
    """The reader, once the page's first command has started the server."""
    serve, *_ = pages.commands(CLIENTS)
    reader.type(serve)
    return reader


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")
def test_what_is_typed_works(served: Any) -> None:
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


def test_the_python_works(served: Any) -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```", CLIENTS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    printed = []
    for block in blocks:
        done = served.run([sys.executable, "-c", block.replace(pages.DOCUMENTED, served.url)])
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.splitlines())
    first, second, third = printed
    assert len(first) == 3
    assert all(re.fullmatch(r"\S+ .+ [\d.]+%?", line) for line in first), first
    assert len(second[0].split()) >= 2
    assert second[0].startswith(f"{third[0]} ")
    assert third[1] == "the bytes are not of an accepted image type"
