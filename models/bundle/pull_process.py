"""A process that pulls one bundle into the cache: who forks, or answers meanwhile, leaves it the work.

The libraries of stores start threads, which a process that is forked later must not have, and hashing and
writing would take turns with the requests of a server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from pinnace.models.bundle.cache import LocalCopy, hold, local_copy
from pinnace.models.errors import PinnaceError, ServerError, from_dict
from pinnace.models.printable import printable
from pinnace.models.progress import Event


def pull_apart(url: str, *, offline: bool = True) -> LocalCopy:
    """As `pinnace.models.bundle.cache.local_copy`, in a process of its own; progress on a terminal.

    Raises:
        As `local_copy`.
    """
    # Not as an argument, which every user of the machine can read: a URL may hold a password.
    told = json.dumps({"url": url, "offline": offline}).encode()
    child = subprocess.run(
        [sys.executable, "-m", "pinnace.models.bundle.pull_process"],
        input=told,
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        answer = json.loads(child.stdout)
    except ValueError:
        raise ServerError(f"pulling a bundle ended with status {child.returncode} and no word") from None
    if "error" in answer:
        raise from_dict(answer["error"])
    folder = Path(answer["folder"])
    hold(folder)
    return LocalCopy(folder, answer["note"])


def _main() -> None:
    answer: dict[str, object]
    out, sys.stdout = sys.stdout, sys.stderr
    told = json.loads(sys.stdin.buffer.read())
    try:
        copy = local_copy(told["url"], _show, offline=told["offline"])
        answer = {"folder": str(copy.folder), "note": copy.note}
    except PinnaceError as error:
        answer = {"error": error.to_dict()}
    except KeyboardInterrupt:
        os._exit(130)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    print(json.dumps(answer), file=out, flush=True)


def _show(event: Event) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{printable(str(event))}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    _main()
