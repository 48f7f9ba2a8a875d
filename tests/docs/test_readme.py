"""What README.md tells a newcomer to type works."""

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

# Not typed here: what installs, whose words are checked below, and the export, which `reader` has typed.
NOT_TYPED = ("make ", "source ", "pinnace export ")


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README uses curl")
def test_what_is_typed_works(reader: Any) -> None:
    typed = [command for command in pages.commands(README) if not command.startswith(NOT_TYPED)]
    assert len(typed) == 8
    for command in typed:
        printed = reader.type(command)
        if command.startswith("curl "):
            assert len(json.loads(printed)["predictions"]) == 1
    page = README.read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
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
