"""Commands on bundles whose manifest was changed at one place: never an internal error, never an escape."""

from __future__ import annotations

import dataclasses
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pinnace.cli import main
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.files import sha256
from support.command_line import CommandLine
from support.tiny_bundle import build_bundle, encode

VALUES = (
    *(None, True, 0, 1, -1, 3, 10**30, 0.5, 1e308, float("nan"), "", "a", "\0", "\x1b[31m", "[/]", "../x"),
    *("x" * 5000, "\u2028", [], [None], [1], [1, 2], ["a"], {}, {"a": 1}, "float32", "batch", "1"),
)
SHARE = 40


def _places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, below in inside:
        found += [(*above, key), *_places(below, (*above, key))]
    return found


@pytest.mark.parametrize("seed", range(5))
def test_no_changed_manifest_is_an_internal_error(tmp_path: Path, pinnace: CommandLine, seed: int) -> None:
    folder = build_bundle(tmp_path / "tiny.bundle")
    image = tmp_path / "red.png"
    image.write_bytes(encode((250, 10, 20)))
    original = json.loads((folder / "manifest.json").read_text())
    cases = [(place, value) for place in _places(original) for value in VALUES]
    for place, value in random.Random(seed).sample(cases, SHARE):
        document = json.loads(json.dumps(original))
        parent = document
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = value
        (folder / "manifest.json").write_text(json.dumps(document))
        for command in (
            ["inspect", str(folder)],
            ["inspect", str(folder), "--json"],
            ["classify", str(image), "--bundle", str(folder)],
            ["verify", str(folder), "--runtime", "onnxruntime"],
        ):
            outcome = pinnace(*command)
            assert outcome.status in (0, 1, 2), (place, value, command, outcome.err)
            assert "\x1b" not in outcome.out + outcome.err, (place, value, command)


def _without(data: bytes, name: str) -> bytes:
    return _repacked(data, lambda member, content: None if member.endswith(name) else content)


def _with_graph(data: bytes, graph: bytes) -> bytes:
    return _repacked(data, lambda member, content: graph if member.endswith("models/model.json") else content)


def _repacked(data: bytes, change: Callable[[str, bytes], bytes | None]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(buffer, "w") as after:
        for name in before.namelist():
            if (content := change(name, before.read(name))) is not None:
                after.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


PROGRAMS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "cut": lambda data: data[:-100],
    "without a weight": lambda data: _without(data, "weight_0"),
    "without its graph": lambda data: _without(data, "model.json"),
    "a graph of nothing": lambda data: _with_graph(data, b"null"),
    "a graph without an end": lambda data: _with_graph(data, b"[" * 100_000),
    "a graph of another kind": lambda data: _with_graph(data, b'{"graph_module": {"graph": []}}'),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_program_that_is_none_is_one_sentence(
    own_copy: Bundle, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    """Whoever changes a file can change its hash too."""
    chosen = own_copy.variant("pt2-fp32")
    file = own_copy.folder / chosen.file
    file.write_bytes(PROGRAMS[kind](file.read_bytes()))
    changed = dataclasses.replace(chosen, sha256=sha256(file), bytes=file.stat().st_size)
    manifest = dataclasses.replace(own_copy.manifest, variants=(changed,))
    (own_copy.folder / "manifest.json").write_bytes(manifest.to_json())
    photograph = str(Path(__file__).parents[2] / "models" / "photographs" / "cat.jpg")
    for command, status in ((["verify"], 1), (["classify", photograph, "--bundle"], 2), (["inspect"], 0)):
        capfd.readouterr()
        assert main.run([*command, str(own_copy.folder)]) == status
        err = capfd.readouterr().err
        assert "Traceback" not in err
        if command[0] == "classify":
            assert err.startswith(f"error: torch cannot load {file}: ")
            assert len(err.splitlines()[0]) < 400
