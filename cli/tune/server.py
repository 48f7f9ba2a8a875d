"""A real `pinnace serve` on a free port, for the finalists."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pinnace.models.errors import CheckFailed
from pinnace.models.profile import Configuration
from pinnace.serving.workers.parent_watchdog import VARIABLE as PARENT

_READY_S = 180.0
_STOP_S = 40.0
_POLL_S = 0.1


@contextmanager
def serving(bundle: Path, configuration: Configuration) -> Iterator[str]:
    """Serve a bundle in a configuration; yields the URL when it is ready, and stops the server afterwards.

    Raises:
        CheckFailed: it does not become ready; the message has the last line that it wrote.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "pinnace.cli.main", "serve", str(bundle), "--no-profile"),
        *("--variant", configuration.variant, "--runtime", configuration.runtime),
        *("--workers", str(configuration.processes), "--threads", str(configuration.threads)),
        *("--port", str(port), "--host", "127.0.0.1"),
        *(("--device", configuration.device) if configuration.device is not None else ()),
    ]
    # The user's own settings of a server are not about this one.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PINNACE_")}
    environment = {
        **clean,
        "PINNACE_CONFIG": os.devnull,
        "PINNACE_MAX_BATCH": str(configuration.batch),
        "PINNACE_DRAIN": "0",
        PARENT: str(os.getpid()),
    }
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + _READY_S
            while not _is_ready(port):
                if server.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    last = next(filter(None, map(str.strip, reversed(log.read().splitlines()))), "nothing")
                    raise CheckFailed(f"a server of {configuration} does not become ready", got=last)
                time.sleep(_POLL_S)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
