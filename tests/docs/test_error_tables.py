"""The errors that docs/sources.md explains are those that the code has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
TABLES = re.findall(r"^\| error \|.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
ROWS = [row.split(" | ")[0] for table in TABLES for row in table.splitlines()[1:]]
MESSAGES = [message for row in ROWS for message in re.findall(r"`([^`]+)`", row)]
ANYTHING = "\0"
MOST = 0.51  # of the words of a message stand in the code as they are; the others are filled in


@pytest.fixture(scope="module")
def texts() -> dict[str, set[str]]:
    """The texts of the code, in which `ANYTHING` stands for what is filled in; and the words of each."""
    return {
        text: words(text)
        for folder in ("models", "export", "cli")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if len(words(text := pattern(node))) > 1
    }


def pattern(node: ast.AST) -> str:
    """A text of the code, or nothing."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(pattern(part) or ANYTHING for part in node.values)
    return ""


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def fit(one: str, other: str) -> bool:
    """Whether two patterns have a text in common."""
    seen, waiting = set(), [(0, 0)]
    while waiting:
        i, j = at = waiting.pop()
        if at == (len(one), len(other)):
            return True
        if at in seen:
            continue
        seen.add(at)
        a, b = one[i : i + 1], other[j : j + 1]
        if ANYTHING in (a, b):
            waiting += [(i + 1, j)] * bool(a) + [(i, j + 1)] * bool(b)
        elif a == b:
            waiting.append((i + 1, j + 1))
    return False


@pytest.mark.parametrize("message", MESSAGES)
def test_the_error_exists(message: str, texts: dict[str, set[str]]) -> None:
    said = words(re.sub(r"'[^']*'|\S*[:./_@]\S*", "", message))  # names go
    shared = {text: len(said & theirs) for text, theirs in texts.items()}
    near = sorted(
        (text for text in texts if shared[text] >= MOST * len(said)), key=shared.__getitem__, reverse=True
    )
    # A page may give the middle of a sentence.
    whole = f"{ANYTHING}{message}{ANYTHING}".replace("...", ANYTHING)
    assert any(fit(whole, text) for text in near)
