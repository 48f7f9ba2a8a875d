"""Reloads a bundle that was replaced on disk, in every worker.

`POST /models/{name}/reload` reaches one worker, and SIGHUP the parent. That process leaves a file in the
folder that the workers share (see `readiness`) and sends the others SIGHUP; each of them looks for files that
it has not seen, reloads, and writes beside the file how it went.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from pinnace.serving.errors import ReloadFailed
from pinnace.serving.inference.registry import Registry
from pinnace.serving.workers.readiness import Readiness, shared_folder, warm_workers

logger = logging.getLogger("pinnace.serving")

# The others load the same files as the one that was asked, which has done so by then.
_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.02

_ASKED = ".asked"


@dataclass(frozen=True)
class ReloadResult:
    """What a reload came to.

    Attributes:
        version: the version that every worker answers with now.
        previous: the one from before, in the worker that was asked.
        workers: how many workers there are.
    """

    version: str
    previous: str
    workers: int


class Reloader:
    """Reloads in this worker and, where the request came here, in the others."""

    def __init__(self, registry: Registry, readiness: Readiness) -> None:
        """Reload nothing yet; `install` listens for SIGHUP."""
        self._registry = registry
        self._readiness = readiness
        self._seen: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def install(self) -> None:
        """Reload on SIGHUP, which the parent and the other workers send."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._start)

    def reload_if_replaced(self) -> None:
        """Reload what was replaced while this worker was loading and could not get the signal."""
        self._run(None)

    async def reload_in_all_workers(self, name: str) -> ReloadResult:
        """Reload a model in this worker, then in the others.

        Raises:
            UnknownModel: there is none of that name.
            ReloadFailed: the bundle on disk is not good, and nothing has changed; or some of the others did
                not take it.
        """
        model = self._registry.model(name)
        previous = model.version
        await self._registry.reload(name)
        others = self._readiness.other_workers()
        if others:
            await self._ask(others, name)
        return ReloadResult(model.version, previous, 1 + len(others))

    async def _ask(self, others: list[int], name: str) -> None:
        folder = shared_folder()
        assert folder is not None
        request = write_request(folder, [name], sender=os.getpid())
        version = self._registry.model(name).version
        answers = {pid: request.with_suffix(f".{pid}") for pid in others}
        try:
            signal_workers(others)
            outcomes = await _outcomes(folder, answers)
        finally:
            for path in (request, *answers.values()):
                path.unlink(missing_ok=True)
        wrong = [outcome for outcome in outcomes.values() if outcome != version]
        if wrong:
            raise ReloadFailed(
                f"{name} was reloaded to version {version}, but not in {len(wrong)} of {1 + len(others)} "
                f"workers: {wrong[0]}",
                hint="ask again, or restart the server",
            )

    def _start(self) -> None:
        folder = shared_folder()
        if folder is None:
            self._run(None)
            return
        for request in sorted(folder.glob(f"*{_ASKED}")):
            if request.name not in self._seen:
                self._seen.add(request.name)
                self._run(request)

    def _run(self, request: Path | None) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: Path | None) -> None:
        sender, names = None, None
        if request is not None:
            try:
                asked = json.loads(request.read_text())
            except OSError:
                return  # the worker that asked has given up
            sender, names = asked["sender"], asked["models"]
            if sender == os.getpid():
                return
        outcome = ""
        for name in names if names is not None else [model.name for model in self._registry.models]:
            try:
                if await self._registry.reload(name):
                    version = self._registry.model(name).version
                    logger.warning("%s was reloaded: version %s answers", name, version)
                outcome = self._registry.model(name).version
            except ReloadFailed as error:
                logger.error("%s", error)
                outcome = error.message
        if request is not None and sender is not None:
            _write(request.with_suffix(f".{os.getpid()}"), outcome)


async def _outcomes(folder: Path, answers: dict[int, Path]) -> dict[int, str]:
    """What each worker wrote: a version, or why there is none. One that has died meanwhile is left out."""
    outcomes: dict[int, str] = {}
    end = time.monotonic() + _PATIENCE_SECONDS
    while len(outcomes) < len(answers):
        await asyncio.sleep(_POLL_SECONDS)
        alive = warm_workers(folder)
        for pid, path in list(answers.items()):
            if pid in outcomes:
                continue
            with contextlib.suppress(FileNotFoundError):
                outcomes[pid] = path.read_text()
                continue
            if pid not in alive:
                del answers[pid]  # its successor loads what is on disk
            elif time.monotonic() > end:
                outcomes[pid] = f"no answer within {_PATIENCE_SECONDS:g} s"
    return outcomes


def write_request(folder: Path, models: list[str] | None, sender: int | None) -> Path:
    """Write a request for the workers to the folder that they share.

    Args:
        folder: the one that they share.
        models: names; None for all.
        sender: the worker that waits for their answers, if one does.
    """
    path = folder / f"{secrets.token_hex(8)}{_ASKED}"
    _write(path, json.dumps({"sender": sender, "models": models}))
    return path


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def signal_workers(pids: list[int]) -> None:
    """Send SIGHUP to workers that listen for it."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
