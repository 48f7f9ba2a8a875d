"""Child interpreters of exports, forked from one that has done their imports.

A child that starts from nothing spends four of its five seconds on importing torch and the ONNX exporter.
What is forked runs the same program, in a session and a folder of its own, with the same descriptors, and is
ended in the same way. `tests/export/worker/test_spawn.py` and every export of a command line that is a
process of its own have real ones.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from support.warm_export.template import Request

MODULE = "pinnace.export.worker.main"
_TEMPLATE = Path(__file__).with_name("template.py")
# pytest names the running test in the first; our modules and torch set the others, in the child as well.
_IGNORED = ("PYTEST_CURRENT_TEST", "ORT_DISABLE_TELEMETRY", "TORCHINDUCTOR_CACHE_DIR")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _IGNORED}


class Template:
    """The interpreter that is forked; started with the first export, in the environment of now."""

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = _environment()

    def fits(self) -> bool:
        """Whether a fork has the environment that a child would have, which modules read as they come in."""
        return self._environment == _environment()

    def send(self, request: Request, fds: Sequence[int]) -> None:
        """Ask for a fork."""
        if self._control is None:
            self._start()
        assert self._control is not None
        socket.send_fds(self._control, [json.dumps(request).encode()], fds)

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-u", str(_TEMPLATE), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=self._environment,
                start_new_session=True,
            )
        self._control = ours

    def stop(self) -> None:
        """End it; forks that run go on."""
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.wait(20)


class Forked:
    """A child that was forked; what of `subprocess.Popen` the exporter uses."""

    def __init__(self, template: Template, request: Request, events: int) -> None:
        self.args = [request["program"], *request["arguments"]]
        self.returncode: int | None = None
        reading, writing = os.pipe()
        self._status, status = os.pipe()
        template.send(request, (events, writing, status))
        os.close(writing)
        os.close(status)
        self.stdout = os.fdopen(reading, "rb")
        self._said = b""
        self.pid = int(self._line(None))

    def wait(self, timeout: float | None = None) -> int:
        """As `subprocess.Popen.wait`."""
        if self.returncode is None:
            self.returncode = int(self._line(timeout))
            os.close(self._status)
        return self.returncode

    def _line(self, timeout: float | None) -> str:
        deadline = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._said:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._status], [], [], left)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            block = os.read(self._status, 64)
            if not block:
                raise RuntimeError("the interpreter that exports are forked from has ended")
            self._said += block
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()


def forking(template: Template) -> Any:
    """What the exporter has for `subprocess`: children of exports are forked, where that is the same."""

    def start(command: Sequence[str], **settings: Any) -> Any:
        plain = list(command[:5]) == [sys.executable, "-I", "-u", "-m", MODULE] and "env" not in settings
        if not (plain and template.fits()):
            return subprocess.Popen(command, **settings)
        (events,) = settings["pass_fds"]
        request = Request(
            kind="module",
            program=MODULE,
            arguments=list(command[5:]),
            folder=os.path.abspath(settings["cwd"] or "."),  # noqa: PTH100
            events=events,
        )
        return Forked(template, request, events)

    return SimpleNamespace(**{**vars(subprocess), "Popen": start})


def printed_without_pinnace(template: Template, script: Path, folder: Path) -> str:
    """What a script prints, on either stream, in a fork that cannot import Pinnace."""
    with Path(os.devnull).open("wb") as nothing:
        events = nothing.fileno()
        request = Request(kind="script", program=str(script), arguments=[], folder=str(folder), events=events)
        forked = Forked(template, request, events)
    with forked.stdout as stream:
        printed = stream.read().decode()
    forked.wait()
    return printed
