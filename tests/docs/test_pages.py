"""Every page: links lead somewhere, commands are spelt as the command line knows them, extras exist."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from pinnace.cli.group import verb
from pinnace.cli.verbs import VERBS
from pinnace.models.bundle.manifest import Manifest, Variant
from pinnace.models.bundle.measurements import Parity
from pinnace.models.toml import read_toml
from support import pages

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@each_page
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings], link


@each_page
def test_every_command_is_spelt_as_the_command_line_knows_it(page: Path) -> None:
    inline = re.findall(r"`(pinnace [a-z]+ [^`]+)`", page.read_text(encoding="utf-8"))
    for command in [*pages.commands(page), *inline]:
        words = shlex.split(command)
        if words[0] == "pinnace" and "--help" not in words:
            assert words[1] in VERBS, command
            verb(words[1]).make_context(words[1], words[2:])  # raises where an option is unknown


@each_page
def test_extras_exist(page: Path) -> None:
    extras = read_toml(ROOT / "pyproject.toml", "project")["project"]["optional-dependencies"]  # type: ignore[index]
    for group in re.findall(r"pip install '[.\w]*\[([\w,]+)\]'", page.read_text(encoding="utf-8")):
        assert set(group.split(",")) <= set(extras), group


def test_the_manifest_of_bundle_md_is_one_and_every_field_is_explained() -> None:
    text = (ROOT / "docs" / "bundle.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    read = TypeAdapter(Manifest).validate_json(shown)
    assert json.loads(read.to_json()) == json.loads(shown)
    for kind in (Manifest, Variant, Parity):
        for field in dataclasses.fields(kind):
            assert re.search(rf"^\|.*`{field.name}`.*\|", text, re.MULTILINE), field.name


@each_page
def test_files_that_are_named_exist(page: Path) -> None:
    """A path in backticks that begins like one of ours exists, or is a new file whose text follows.

    The examples have a folder `models/` too.
    """
    text = re.sub(r"(`[\w/.]+`:\s+)?```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    folders = "models|export|latency|serving|clients|cli|tests|benchmarks|docs|examples"
    for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", text):
        assert (ROOT / name).exists() or (ROOT / "examples" / "digits" / name).exists(), name


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} - {"index.md"}
    assert set(re.findall(r"\]\(((?:adr/)?[\w-]+\.md)\)", index)) == pages


def test_the_index_gives_decisions_by_their_titles() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\d+)\]\((adr/.*?)\) \| (.*) \|$", index, re.MULTILINE)
    titles = [(ROOT / "docs" / path).read_text(encoding="utf-8").splitlines()[0] for _, path, _ in rows]
    assert titles == [f"# {number}. {title}" for number, _, title in rows]


def test_the_import_paths_of_the_changelog_are_right() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    moved = re.findall(r"^  \| `(pinnace\.[\w.]+)`.* \| `(pinnace\.[\w.]+)`.* \|$", text, re.MULTILINE)
    assert len(moved) > 8
    for before, now in moved:
        importlib.import_module(now)
        if not now.startswith(f"{before}."):  # else a module became a package of the same name
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module(before)
