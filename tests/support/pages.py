"""Pages of the documentation, and a reader who types what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from support.ports import free_port
from support.server import Server, clean_environment

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
        self._port = free_port()
        self.url = f"http://localhost:{self._port}"
        clean = clean_environment(home / "bentoml")
        path = f"{Path(sys.executable).parent}{os.pathsep}{clean.get('PATH', '')}"
        self._env = {**clean, "PATH": path}
        self._server: Server | None = None

    def type(self, command: str) -> str:
        """Run a command, a server in the background, and return its standard output; it has to succeed."""
        if command.startswith("pinnace serve "):
            self._serve(command)
            return ""
        if command.startswith("pinnace bench "):
            command += " --duration 1"  # and not the ten seconds that it times for by default
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
        started = ["bash", "-c", f"exec {command} --port {self._port}"]
        self._server = Server.start(started, self._port, self._log, env=self._env, cwd=self.folder)
        self._server.wait_until_ready()

    def leave(self) -> None:
        """End the server, if there is one."""
        if self._server is not None:
            self._server.stop()
            self._server = None
