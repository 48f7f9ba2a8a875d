"""The process that is Ray's driver, and what it says to the command that started it.

Ray ends the process that it is in when its raylet or its head is lost, without a word, and some of its calls
wait for ever. So the command has a process for it, hears whether it still gets on, and ends in any case.
"""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from pinnace.cli.cluster.connection import connected
from pinnace.cli.cluster.hand_out import AGAIN, HandOut, SmallerCluster
from pinnace.models.errors import PinnaceError, error_lines, from_dict

# Seconds without a word after which the process is given up, and within which it has to end. Ray itself gives
# a head up after a minute.
SILENCE = 90.0
_ENDING = 40.0


@dataclass(frozen=True)
class Driver:
    """A process that hands out shards on a cluster.

    Attributes:
        address: `local`, `auto`, or the address of a cluster.
        work: what it hands out.
    """

    address: str
    work: HandOut

    def reports(self) -> Generator[dict[str, Any], None, None]:
        """Start it, and yield what the actors say of each shard; it ends with the iterator.

        Raises:
            PinnaceError: there is no such cluster, it does not get on, or it was lost.
            SmallerCluster: a machine was lost, and its shards wait for another.
        """
        with subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the command
        ) as process:
            assert process.stdin is not None
            try:
                with contextlib.suppress(BrokenPipeError):  # then it has ended, and says nothing
                    pickle.dump(self, process.stdin)
                    process.stdin.flush()
                yield from _heard(process)
            finally:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
                try:
                    process.wait(_ENDING)
                except subprocess.TimeoutExpired:
                    process.kill()


def _heard(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    said: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(process, said), daemon=True).start()
    while True:
        try:
            line = said.get(timeout=SILENCE)
        except queue.Empty:
            process.kill()
            raise PinnaceError(f"Ray has not answered for {SILENCE:.0f} seconds", hint=AGAIN) from None
        if not line:
            raise PinnaceError("the connection to the Ray cluster was lost", hint=AGAIN)
        word = json.loads(line)
        if "report" in word:
            yield word["report"]
        elif "error" in word:
            raise from_dict(word["error"])
        elif word.get("end") == "smaller":
            raise SmallerCluster
        elif "end" in word:
            return


def _listen(process: subprocess.Popen[bytes], said: queue.SimpleQueue[bytes]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        said.put(line)
    said.put(b"")


def _drive(driver: Driver) -> Iterator[dict[str, Any]]:
    """What the process says: reports, that it gets on, and how it ended, before it ends with Ray."""
    try:
        with connected(driver.address, len(driver.work.bundle)):
            yield from _hand_out(driver.work)
    except PinnaceError as error:
        yield {"error": error.to_dict()}


def _hand_out(work: HandOut) -> Iterator[dict[str, Any]]:
    try:
        for report in work.reports():
            yield {} if report is None else {"report": report}
        yield {"end": "done"}
    except SmallerCluster:
        yield {"end": "smaller"}
    except PinnaceError as error:
        yield {"error": error.to_dict()}
    except Exception as error:
        lost = PinnaceError(f"the run on the Ray cluster failed: {error_lines(error)[0]}", hint=AGAIN)
        yield {"error": lost.to_dict()}


def _end_with_parent(ended: threading.Event) -> None:
    """Wait for the end of standard input; then end in order, or at once where nobody waits for that."""
    parent = os.getppid()
    sys.stdin.buffer.read()
    if not ended.is_set():
        _thread.interrupt_main()
    deadline = time.monotonic() + _ENDING
    while os.getppid() == parent and time.monotonic() < deadline:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Read a `Driver` from standard input, and say on standard output what becomes of it."""
    # Ray writes on both: of machines and tasks that are lost, though it has a log of its own in /tmp/ray.
    with os.fdopen(os.dup(1), "w", buffering=1) as words:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        ended = threading.Event()
        driver: Driver = pickle.load(sys.stdin.buffer)  # noqa: S301 - of the command that started this
        threading.Thread(target=_end_with_parent, args=(ended,), daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
            for word in _drive(driver):
                if not word.keys().isdisjoint(("end", "error")):
                    ended.set()
                words.write(json.dumps(word) + "\n")
