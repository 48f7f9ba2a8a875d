"""What each verb may import: none brings what it does not use.

These are interpreters of their own, which say which modules they have at the end. `benchmarks/imports.py` has
the times.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CAT = Path(__file__).parents[2] / "models" / "photographs" / "cat.jpg"
HEAVY = {
    *("torch", "onnx", "onnxruntime", "openvino"),
    *("numpy", "PIL", "rich", "httpx", "bentoml", "starlette", "scipy"),
}

# A bundle's manifest says how images are preprocessed, which is checked with NumPy and Pillow.
READS_BUNDLES = {"numpy", "PIL", "rich"}
SCRIPT = """
import contextlib, io, sys
from pinnace.cli.main import run
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
    status = run(sys.argv[2:])
assert status == int(sys.argv[1]), said.getvalue()
print(*sys.modules)
"""


def imported(*arguments: object, status: int = 0) -> set[str]:
    """The heavy modules of a run, and `ours` for how many of Pinnace's there are."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(status), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], [], ["export", "--help"], ["classify", "--help"], ["tune", "--help"]],
)
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    modules = imported(*arguments)
    # The help of `export` lists the sources and the formats, which it looks for.
    allowed = {"numpy", "PIL"} if arguments == ["export", "--help"] else set()
    assert modules & HEAVY <= allowed
    if "export" not in arguments:
        assert len([name for name in modules if name.startswith("pinnace.")]) < 25


@pytest.mark.parametrize(
    ("arguments", "allowed", "status"),
    [
        (["inspect", "BUNDLE"], READS_BUNDLES, 0),
        (["models"], READS_BUNDLES, 0),
        (["targets"], READS_BUNDLES, 0),
        (["serve", "--print-settings"], READS_BUNDLES, 0),
        (["compare", "no.json", "none.json"], READS_BUNDLES, 2),
        (["report", "nowhere"], READS_BUNDLES, 2),
        (
            ["classify", CAT, "--bundle", "BUNDLE", "--runtime", "onnxruntime"],
            READS_BUNDLES | {"onnxruntime"},
            0,
        ),
        (["classify", CAT, "--url", "http://127.0.0.1:9"], READS_BUNDLES | {"httpx"}, 2),
        (["verify", "no.bundle"], READS_BUNDLES | {"onnxruntime", "openvino"}, 2),
        (["package", "no.bundle", "-o", "x"], READS_BUNDLES, 2),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_verb_imports_what_it_uses(
    bundle: Path, arguments: list[object], allowed: set[str], status: int
) -> None:
    words = [bundle if word == "BUNDLE" else word for word in arguments]
    assert imported(*words, status=status) & HEAVY <= allowed
