"""What the tests of pages share. Test modules cannot import each other: load it with `runpy.run_path`."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

DOCUMENTED = "http://localhost:3000"


def commands(page: Path) -> list[str]:
    """What a reader types: the lines after `$ ` in the console blocks, continued lines joined."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]


class Reader:
    """Types commands into a shell in a folder; a server gets a free port, and `leave` ends it."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self._log = home / "server.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://localhost:{self._port}"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PINNACE_", "BENTOML_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{clean.get('PATH', '')}"
        self._env = {**clean, "PATH": path, "BENTOML_HOME": str(home / "bentoml")}
        self._server: subprocess.Popen[bytes] | None = None

    def type(self, command: str) -> str:
        """Run a command, a server in the background, and return its standard output; it has to succeed."""
        if command.startswith("pinnace serve "):
            self._serve(command)
            return ""
        if command.startswith("curl "):
            command = command.replace("curl ", "curl --silent --show-error --fail ", 1)
        done = self.run(["bash", "-c", command.replace(DOCUMENTED, self.url)])
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a program."""
        return subprocess.run(
            arguments,
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def _serve(self, command: str) -> None:
        self.leave()
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                ["bash", "-c", f"exec {command} --port {self._port}"],
                cwd=self.folder,
                env=self._env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._server.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(f"{command}: not ready\n{self._log.read_text(encoding='utf-8')}")

    def leave(self) -> None:
        """End the server, and whatever is left of the process group that it leads."""
        if self._server is None:
            return
        self._server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._server.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait(5)
        self._server = None
