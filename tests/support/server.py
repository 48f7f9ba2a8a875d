"""A real server: started, awaited, ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from support.processes import interruptible, kill_on_exit


def clean_environment(home: Path) -> dict[str, str]:
    """The environment of the tests without the settings of Pinnace and BentoML, whose files go to `home`."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PINNACE_", "BENTOML_"))
    }
    return {**clean, "BENTOML_HOME": str(home)}


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    log_file: Path

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        port: int,
        log_file: Path,
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
    ) -> Server:
        """Start a command that serves on this port; its output goes to the log file."""
        with log_file.open("wb") as log, interruptible():
            process = subprocess.Popen(
                command, env=env, cwd=cwd, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        return cls(process, port, log_file)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    def wait_until_ready(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                pytest.fail(f"the server ended with {self.process.returncode}:\n{self.log}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            time.sleep(0.05)
        pytest.fail(f"the server was not ready in {seconds} s:\n{self.log}")

    def stop(self) -> None:
        """End it, and whatever is left of it."""
        kill = kill_on_exit(self.process)
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        kill()
        self.process.wait(5)
