"""Reloads a bundle that was replaced on disk, in every worker.

`POST /models/{name}/reload` reaches one worker, which leaves a file in the folder that the workers share and
sends the others SIGHUP; each of them looks for files that it has not seen, reloads, and writes beside the
file how it went. One that is stopped finds the file when it goes on. A worker that gets SIGHUP and finds no
such file looks after all of its models: the parent has sent it.
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

from pinnace.models.bundle import cache
from pinnace.models.bundle.pull_process import pull_apart
from pinnace.models.errors import PinnaceError
from pinnace.serving.errors import ReloadFailed
from pinnace.serving.inference.registry import RegisteredModel, Registry
from pinnace.serving.workers.background import in_thread
from pinnace.serving.workers.readiness import Readiness, warm_workers
from pinnace.serving.workers.server_folder import shared_folder
from pinnace.serving.workers.sources import move, url_of

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
        workers: how many workers answer with it.
        silent: the process ids of workers that do not move. They take the version up once they go on.
    """

    version: str
    previous: str
    workers: int
    silent: tuple[int, ...] = ()

    @property
    def note(self) -> str | None:
        """A sentence about those that do not move."""
        if not self.silent:
            return None
        pids = ", ".join(map(str, self.silent))
        return f"{len(self.silent)} of the workers did not answer (process {pids}); the reload waits for them"


class Reloader:
    """Reloads in this worker and, where the request came here, in the others."""

    def __init__(self, registry: Registry, readiness: Readiness) -> None:
        """Reload nothing yet; `install` listens for SIGHUP."""
        self._registry = registry
        self._readiness = readiness
        self._seen: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._left: list[Path] = []  # of the last reload, for a worker that did not move

    def install(self) -> None:
        """Reload on SIGHUP, which the parent and the other workers send."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._start)

    def reload_if_replaced(self) -> None:
        """Reload what was replaced while this worker was loading and could not get the signal."""
        self._run(None, counts=False)

    async def reload_in_all_workers(self, name: str) -> ReloadResult:
        """Reload a model in this worker, then in the others; one that is elsewhere is pulled first.

        Raises:
            UnknownModel: there is none of that name.
            ReloadFailed: the bundle on disk is not good, and nothing has changed; or some of the others did
                not take it.
        """
        model = self._registry.model(name)
        previous = model.version
        fresh: Path | None = None
        try:
            fresh = await self._pulled(model)
            changed = await self._registry.reload(name, fresh)
            if fresh is not None:
                move(model.folder, fresh)
            others = sorted(self._readiness.other_workers())
            silent = await self._ask(others, name) if others else []
        except ReloadFailed:
            self._count(name, ReloadFailed.code)
            url = url_of(model.folder)
            if url is not None and fresh is not None and fresh != model.folder.resolve():
                cache.disown(url, fresh)
            raise
        if changed:
            self._count(name, "ok")
            self._log_note(name)
        workers = 1 + len(others) - len(silent)
        result = ReloadResult(model.version, previous, workers, tuple(silent))
        if result.note is not None:
            logger.warning("%s was reloaded to version %s: %s", name, model.version, result.note)
        return result

    async def _pulled(self, model: RegisteredModel) -> Path | None:
        """The folder of what is now where a bundle came from; None for one that is in a folder of its own."""
        url = url_of(model.folder)
        if url is None:
            return None
        try:
            return (await in_thread(pull_apart, url, offline=False)).folder
        except PinnaceError as error:
            raise model.refused(error) from error

    async def _ask(self, others: list[int], name: str) -> list[int]:
        """Have the others reload; those that stopped moving meanwhile are what is returned."""
        folder = shared_folder()
        assert folder is not None
        version = self._registry.model(name).version
        request = folder / f"{secrets.token_hex(8)}{_ASKED}"
        answers = {pid: request.with_suffix(f".{pid}") for pid in others}
        files = [request, *answers.values()]
        silent: list[int] = []
        for path in self._left:
            path.unlink(missing_ok=True)
        try:
            _write(request, json.dumps({"sender": os.getpid(), "model": name}))
            signal_workers(others)
            outcomes, silent = await _outcomes(folder, answers)
        except OSError as error:
            raise ReloadFailed(
                f"{name} was reloaded to version {version}, but the others cannot be told: {error.strerror}",
                hint=f"make room in {folder}, and ask again",
            ) from error
        finally:
            self._left = files if silent else []
            for path in () if silent else files:
                path.unlink(missing_ok=True)
        wrong = [outcome for outcome in outcomes.values() if outcome != version]
        if wrong:
            raise ReloadFailed(
                f"{name} was reloaded to version {version}, but not in {len(wrong)} of {1 + len(others)} "
                f"workers: {wrong[0]}",
                hint="ask again, or restart the server",
            )
        return silent

    def _count(self, name: str, outcome: str) -> None:
        metrics = self._registry.executor.metrics
        if metrics is not None:
            metrics.reloaded(name, outcome)

    def _log_note(self, name: str) -> None:
        """Log what there is to say of a new version; one worker does, for all say the same."""
        note = self._registry.model(name).engine.note
        if note is not None:
            logger.warning("%s", note)

    def _start(self) -> None:
        folder = shared_folder()
        asked = {} if folder is None else {path.name: path for path in folder.glob(f"*{_ASKED}")}
        fresh = sorted(asked.keys() - self._seen)
        self._seen = set(asked)
        for name in fresh:
            self._run(asked[name])
        if not fresh:
            # All workers do the same now; one of them counts it.
            self._run(None, counts=self._readiness.leads())

    def _run(self, request: Path | None, counts: bool = False) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(request, counts))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: Path | None, counts: bool) -> None:
        if request is None:
            for model in self._registry.models:
                if url_of(model.folder) is None or not counts:
                    await self._reload(model.name, counts)
                    continue
                try:  # the others follow where this worker has found it good
                    await self.reload_in_all_workers(model.name)
                except ReloadFailed as error:
                    logger.error("%s", error)
            return
        try:
            asked = json.loads(request.read_text())
        except OSError:
            return  # the worker that asked has given up
        if asked["sender"] != os.getpid():
            outcome = await self._reload(asked["model"], counts=False)
            with contextlib.suppress(OSError):  # the one that asked sees that there is no answer
                _write(request.with_suffix(f".{os.getpid()}"), outcome)

    async def _reload(self, name: str, counts: bool) -> str:
        """Reload one model, and log it; the version that answers then, or why it is not another."""
        try:
            changed = await self._registry.reload(name)
        except ReloadFailed as error:
            logger.error("%s", error)
            if counts:
                self._count(name, error.code)
            return error.message
        version = self._registry.model(name).version
        if changed:
            logger.warning("%s was reloaded: version %s answers", name, version)
            if counts:
                self._count(name, "ok")
                self._log_note(name)
        return version


async def _outcomes(folder: Path, answers: dict[int, Path]) -> tuple[dict[int, str], list[int]]:
    """What each worker wrote: a version, or why there is none; and which of them have stopped moving.

    One that has died meanwhile is left out: its successor loads what is on disk.
    """
    outcomes: dict[int, str] = {}
    silent: list[int] = []
    waiting = dict(answers)
    end = time.monotonic() + _PATIENCE_SECONDS
    while waiting:
        await asyncio.sleep(_POLL_SECONDS)
        moves = warm_workers(folder)
        for pid, path in list(waiting.items()):
            late = time.monotonic() > end
            if path.exists():
                outcomes[pid] = path.read_text()
            elif pid in moves and not moves[pid]:
                silent.append(pid)
            elif pid in moves and late:
                outcomes[pid] = f"no answer within {_PATIENCE_SECONDS:g} s"
            elif pid in moves:
                continue
            del waiting[pid]
    return outcomes, silent


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def signal_workers(pids: list[int]) -> None:
    """Send SIGHUP to workers that listen for it."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
