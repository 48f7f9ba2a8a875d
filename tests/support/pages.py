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


def outputs(page: Path) -> dict[str, str]:
    """What a page shows below its commands, by the command; those below which nothing stands are left out."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    shown: dict[str, str] = {}
    for block in blocks:
        for part in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            command, _, below = part.partition("\n")
            if below.strip():
                shown[command] = below
    return shown


def outline(text: str) -> list[str]:
    """The lines of an output, without what differs from one run and one machine to the next.

    Numbers, hashes and dates are all alike, and so are folders, the widths of bars and of columns, and the
    two runtimes of which the CPU decides which one answers. The note of `eval` that says which it is goes.
    """
    text = re.sub(r"^note: where none is named.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r'( in |": ?"|\w,)(?:onnxruntime|openvino)\b', r"\1RUNTIME", text)
    text = re.sub(r"\b[0-9a-f]{12}\b(?=\")", "HASH", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:+.]+", "DATE", text)
    text = re.sub(r"(?<![\w.-])\d+(?:[.,]\d+)*(?:e[+-]?\d+)?", "0", text)
    text = re.sub(r"(?<=[ ])/\S+/(?=[\w.-]+)", "/", text)
    text = re.sub(r"█+", "█", text)
    return [re.sub(r" {2,}", " ", line).strip() for line in text.splitlines() if line.strip()]


class Reader:
    """Types commands into a shell in a folder; a server gets a free port, and `leave` ends it.

    Attributes:
        folder: where it types.
        url: of its server.
        shown: what each command that it typed has shown, on standard error and then on standard output.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self._log = home / "server.log"
        self._port = free_port()
        self.url = f"http://localhost:{self._port}"
        clean = clean_environment(home / "bentoml")
        path = f"{Path(sys.executable).parent}{os.pathsep}{clean.get('PATH', '')}"
        self._env = {**clean, "PATH": path}
        self._server: Server | None = None
        self.shown: dict[str, str] = {}

    def type(self, command: str) -> str:
        """Run a command, a server in the background, and return its standard output; it has to succeed."""
        if command.startswith("pinnace serve "):
            self._serve(command)
            self.shown[command] = ""
            return ""
        typed = command
        if command.startswith("pinnace bench "):
            command += " --duration 1"  # and not the ten seconds that it times for by default
        if command.startswith("curl "):
            command = command.replace("curl ", "curl --silent --show-error --fail ", 1)
        done = self.run(["bash", "-c", command.replace(DOCUMENTED, self.url)])
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        self.shown[typed] = done.stderr + done.stdout
        return done.stdout

    def check_outputs(self, page: Path) -> None:
        """What a page shows below the commands that were typed is what they showed, but for the figures."""
        compared = 0
        for command, shown in outputs(page).items():
            if command not in self.shown:
                continue
            came = self.shown[command]
            if command.startswith("pinnace serve "):
                came = self._log.read_text(encoding="utf-8").replace(self.url, DOCUMENTED)
            # Sorted, because standard error and output come in their order only on a terminal.
            assert sorted(outline(shown)) == sorted(outline(came)), command
            compared += 1
        assert compared, f"{page} shows no output of a command that was typed"

    def run(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a program."""
        return subprocess.run(
            arguments,
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=1200,
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
