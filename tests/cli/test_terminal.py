"""What a terminal shows: colours, widths, the progress bar, completion."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from support.command_line import PINNACE

pytestmark = pytest.mark.slow

CAT = Path(__file__).parents[2] / "models" / "photographs" / "cat.jpg"
VERBS = {"export", "verify", "serve", "classify", "inspect", "models", "doctor"}
COLOUR = re.compile(r"\x1b\[(?:3[0-7]|9[0-7])")  # as codes of their own, not as part of bold


def in_a_terminal(*arguments: object, columns: int = 100, **variables: str) -> tuple[int, str]:
    """Run the command line in a terminal; its exit status, and everything that the terminal got."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    names = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM", "COLORTERM", "TTY_COMPATIBLE")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    with os.fdopen(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [*PINNACE, *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**clean, "TERM": "xterm-256color", **variables},
            start_new_session=True,
        )
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # what reading says when the other end is closed
            while chunk := screen.read(65536):
                shown += chunk
    return process.wait(timeout=60), shown.decode().replace("\r\n", "\n")


def test_bars_have_colours_on_a_terminal(bundle) -> None:
    status, shown = in_a_terminal("classify", CAT, "--bundle", bundle)
    assert status == 0
    assert COLOUR.search(shown)
    assert "█" in shown


def test_no_color_takes_them_away(bundle) -> None:
    status, shown = in_a_terminal("classify", CAT, "--bundle", bundle, NO_COLOR="1")
    assert status == 0
    assert "█" in shown
    assert not COLOUR.search(shown)


def test_a_narrow_terminal_cuts_no_line(bundle, project) -> None:
    status, shown = in_a_terminal("classify", CAT, "--bundle", bundle, columns=60, NO_COLOR="1")
    assert status == 0
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines()
    assert max(map(len, lines)) <= 60
    for colour in ("red", "green", "blue", "black", "white"):
        assert any(re.search(rf"\d\.\d\d%  .*{colour} ", line) for line in lines)


@pytest.mark.parametrize("columns", [60, 100])
def test_the_bar_shows_how_far_it_is_and_goes_away(bundle, tmp_path, columns) -> None:
    for number in range(40):
        (tmp_path / f"{number}.jpg").write_bytes(CAT.read_bytes())
    (tmp_path / "bad.jpg").write_text("no image")
    status, shown = in_a_terminal(
        "classify", tmp_path, "--bundle", bundle, "-o", tmp_path / "rows.jsonl", columns=columns
    )
    assert status == 1
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(r"\d+/41", text)
    assert re.search(r"\d/s", text)
    assert "left" in text
    assert "error: " in text
    assert "40 classified; 1 cannot be read; " in text
    assert shown.rstrip().splitlines()[-1].startswith("     40  100.0%")


def test_a_pipe_gets_no_bar_unless_it_asks_for_one(pinnace, bundle, tmp_path) -> None:
    (tmp_path / "a.jpg").write_bytes(CAT.read_bytes())
    outcome = pinnace("classify", tmp_path, "--bundle", bundle, "-o", tmp_path / "rows.jsonl")
    assert len(outcome.err.splitlines()) == 2  # the summary, and one label
    assert "\x1b[" not in outcome.err
    outcome = pinnace("classify", tmp_path, "--bundle", bundle, "-o", tmp_path / "two.jsonl", "--progress")
    assert outcome.status == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_verbs(shell) -> None:
    variables = {
        "_PINNACE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "pinnace ",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "pinnace ",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [Path(sys.executable).with_name("pinnace")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    assert set(re.findall(r"\w+", done.stdout)) >= VERBS


def test_completion_of_options() -> None:
    variables = {
        "_PINNACE_COMPLETE": "complete_bash",
        "COMP_WORDS": "pinnace classify --re",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [Path(sys.executable).with_name("pinnace")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.split() == ["--resume"]
