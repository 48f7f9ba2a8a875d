"""Commands on bundles whose manifest was changed at one place: never an internal error, never an escape."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

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
