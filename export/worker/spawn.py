"""Runs `pinnace.export.worker.main` in a fresh interpreter and brings back what it learnt."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from pinnace.export.request import EVENT, FILES, REQUEST, ExportedFiles, ExportRequest
from pinnace.export.worker.bounded_log import BoundedLog
from pinnace.models.errors import SourceError, from_dict
from pinnace.models.progress import Event, Progress, Stage


def run_worker(
    request: ExportRequest,
    folder: Path,
    log: Path,
    progress: Progress,
    *,
    timeout: float,
) -> ExportedFiles:
    """Load and write in a child interpreter.

    Two hub repositories with a `models` package each cannot live in one interpreter, a pickle or a factory
    may crash or print, and memory that a loader took is given back only when its process ends.

    Args:
        request: what to export.
        folder: where the files go; it exists.
        log: what the child printed; see `pinnace.export.worker.bounded_log`.
        progress: told before each step.
        timeout: seconds after which the child is ended.

    Raises:
        PinnaceError: what the child raised.
        SourceError: the child crashed, exited, or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="pinnace-export-") as exchange:
        request_path, result_path = Path(exchange, "request.json"), Path(exchange, "result.json")
        request_path.write_bytes(REQUEST.dump_json(request))
        reading, writing = os.pipe()
        command = [sys.executable, "-I", "-u", "-m", "pinnace.export.worker.main"]
        command += [str(request_path), str(result_path), str(folder), str(writing)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=request.folder,
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        assert process.stdout is not None
        output = BoundedLog(process.stdout, log)
        followed = _Followed(progress)
        reader = threading.Thread(target=followed.read, args=(reading,), daemon=True)
        reader.start()
        try:
            status: int | None = process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end(process)
            reader.join(timeout=1)
            output.close(timeout=5)
        if status is None:
            raise SourceError(
                f"exporting {request.source} took longer than {timeout:g} seconds and was ended while "
                f"{followed.step}; {_printed(log)}",
                hint="give it more time with --load-timeout",
            )
        if not result_path.is_file():
            raise SourceError(
                f"loading {request.source} ended the interpreter ({_status(status)}); {_printed(log)}"
            )
        data = result_path.read_bytes()
        if data.startswith(b'{"error"'):
            raise from_dict(json.loads(data)["error"])
        return FILES.validate_json(data)


class _Followed:
    """Passes on the child's events, and remembers the last."""

    def __init__(self, progress: Progress) -> None:
        self.step = Event(Stage.LOAD)
        self._progress = progress

    def read(self, reading: int) -> None:
        with os.fdopen(reading, "r") as events:
            for line in events:
                self.step = EVENT.validate_json(line)
                self._progress(self.step)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started in its process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _printed(log: Path) -> str:
    return f"what it printed is in {log}" if log.is_file() and log.stat().st_size else "it printed nothing"


def _status(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
