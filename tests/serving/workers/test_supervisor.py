"""The parent of the workers, in a process of its own, with workers that do nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from support.processes import kill_on_exit

# Forked workers have this module; one that is a new interpreter imports it from its file.
PARENT = """
import functools, os, signal, sys
from multiprocessing import get_context
from pathlib import Path
from pinnace.models.errors import CheckFailed, PinnaceError
from pinnace.serving.workers.start_report import StartReporter
from pinnace.serving.workers.supervisor import Supervisor

def work(folder, number, connection):
    reporter = StartReporter()
    reporter.connect(connection)
    if (folder / "broken").exists():
        reporter.failed(CheckFailed("it has changed", expected="one", got="another"))
    if (folder / "odd").exists():
        reporter.failed(ValueError("odd"))
    if (folder / "deadly").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    if (folder / "stubborn").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    reporter.ready(["all is well"])
    while True:
        signal.pause()

if __name__ == "__main__":
    folder, method = Path(sys.argv[1]), sys.argv[2]
    def say(*words):
        print(*words, flush=True)
    supervisor = Supervisor(
        functools.partial(work, folder), 2, 0.2, on_ready=lambda said: say("ready", *said), on_reload=lambda: say("reload")
    )
    supervisor._context = get_context(method)
    try:
        supervisor.run()
    except (PinnaceError, RuntimeError) as error:
        say(type(error).__name__, str(error).replace("\\n", ";"))
        sys.exit(1)
"""  # noqa: E501


class Parent:
    """A running supervisor, and what it has said."""

    def __init__(self, folder: Path, method: str) -> None:
        script = folder / "parent.py"
        script.write_text(PARENT)
        command = [sys.executable, str(script), str(folder), method]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def workers(self) -> list[psutil.Process]:
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # one that has ended
                if "resource_tracker" not in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


Start = Callable[..., Parent]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a supervisor whose workers are of a kind."""
    parents: list[Parent] = []

    def begin(kind: str = "", method: str = "fork") -> Parent:
        if kind:
            (tmp_path / kind).touch()
        parents.append(Parent(tmp_path, method))
        return parents[-1]

    yield begin
    for parent in parents:
        with contextlib.suppress(psutil.NoSuchProcess):
            kill_on_exit(parent.process)()
        parent.process.communicate()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_are_started_replaced_and_ended(start: Start, method: str) -> None:
    parent = start(method=method)
    assert parent.line() == "ready all is well"
    first, second = parent.workers()
    assert os.getsid(first.pid) == first.pid  # Ctrl+C in a terminal does not reach it
    parent.process.send_signal(signal.SIGHUP)
    assert parent.line() == "reload"
    first.kill()
    deadline = time.monotonic() + 20
    while len([worker for worker in parent.workers() if worker != first]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert second in parent.workers()
    workers = parent.workers()
    assert parent.end() == 0
    assert not [worker for worker in workers if worker.is_running()]


def test_one_that_does_not_end_is_killed(start: Start) -> None:
    parent = start("stubborn")
    assert parent.line() == "ready all is well"
    workers = parent.workers()
    assert parent.end() == 0
    assert not [worker for worker in workers if worker.is_running()]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("broken", "CheckFailed it has changed;  expected: one;  got: another"),
        ("odd", "RuntimeError ValueError: odd"),
    ],
)
def test_what_is_wrong_is_said_once_and_ends_the_server(start: Start, kind: str, said: str) -> None:
    parent = start(kind)
    assert parent.line() == said
    assert parent.process.wait(20) == 1
    assert parent.line() == ""


def test_workers_that_die_again_and_again_end_the_server(start: Start) -> None:
    parent = start("deadly")
    assert parent.line() == "RuntimeError workers end before they are ready, the last one by signal 9"
    assert parent.process.wait(20) == 1
