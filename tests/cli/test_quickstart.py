"""`pinnace quickstart`, and `pinnace` alone on a terminal: few questions, and what they come to."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest

from support.command_line import PINNACE, CommandLine
from support.server import Server

pytestmark = pytest.mark.slow

CAT = Path(__file__).parents[2] / "models" / "photographs" / "cat.jpg"


def asked(folder: Path, *answers: str, arguments: tuple[str, ...] = ("quickstart",)) -> tuple[int, str]:
    """Answer the questions on a terminal, each when it is asked; the exit status and what was shown."""
    ours, theirs = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    process = subprocess.Popen(
        [*PINNACE, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={**clean, "TERM": "xterm", "NO_COLOR": "1"},
        start_new_session=True,
    )
    os.close(theirs)
    shown, left, deadline, answered = b"", list(answers), time.monotonic() + 120, 0
    with os.fdopen(ours, "r+b", buffering=0) as screen, contextlib.suppress(OSError):
        while time.monotonic() < deadline:
            if select.select([screen], [], [], 0.2)[0]:
                if not (chunk := screen.read(65536)):
                    break
                shown += chunk
            elif left and shown.endswith(b": ") and len(shown) > answered:
                answered = len(shown)
                screen.write(f"{left.pop(0)}\n".encode())
    assert not left, shown
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode().replace("\r\n", "\n"))
    return process.wait(timeout=60), text


def test_a_checkpoint_is_exported(project: Path, tmp_path: Path) -> None:
    for name in ("net.py", "weights.pt"):
        (tmp_path / name).write_bytes((project / name).read_bytes())
    status, shown = asked(tmp_path, "2", "weights.pt", "net:build", "n")
    assert "\n$ pinnace export weights.pt --arch net:build -o weights.bundle\n" in shown
    assert status == 0, shown
    assert (tmp_path / "weights.bundle" / "manifest.json").is_file()


def test_a_running_server_is_asked(server: Server, tmp_path: Path) -> None:
    status, shown = asked(tmp_path, "3", server.url, str(CAT), arguments=())
    assert f"\n$ pinnace classify {CAT} --url {server.url}\n" in shown
    assert status == 0, shown
    assert "█" in shown


def test_a_model_of_the_catalogue_is_proposed_and_a_wrong_answer_is_asked_again(tmp_path: Path) -> None:
    status, shown = asked(tmp_path, "9", "1", "efficientnet_lite9", "n")
    assert "Type 1, 2 or 3" in shown
    assert "\n$ pinnace export efficientnet_lite9 -o efficientnet_lite9.bundle\n" in shown
    assert status == 2
    assert "'efficientnet_lite9' is not in the catalogue" in shown


def test_off_a_terminal_nothing_is_asked(pinnace: CommandLine) -> None:
    outcome = pinnace("quickstart")
    assert outcome.status == 2
    assert outcome.err == (
        "error: quickstart asks questions, and nobody is at a terminal here\n  help: pinnace --help\n"
    )
