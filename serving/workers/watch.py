"""Watches where served bundles come from, and takes up what is put there, once it has passed the checks.

One worker looks for all of them: the one with the lowest process id. Each bundle that was refused is logged
once; the one from before answers on.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from pinnace.models.bundle.cache import BUNDLES, cache_folder, identity_at
from pinnace.models.bundle.download import UnreachableError
from pinnace.models.errors import PinnaceError
from pinnace.models.urls import without_secrets
from pinnace.serving.errors import ReloadFailed
from pinnace.serving.inference.registry import RegisteredModel, Registry
from pinnace.serving.workers.background import in_thread
from pinnace.serving.workers.readiness import Readiness
from pinnace.serving.workers.reload import Reloader
from pinnace.serving.workers.sources import url_of

logger = logging.getLogger("pinnace.serving")

# Between two looks at a folder of this machine that has changed: who copies into it is still at work.
_SETTLING_SECONDS = 1.0

# Rounds after which a bundle that could not be pulled whole is tried again: its other files may follow.
_ROUNDS_OF_PATIENCE = 10


@dataclass
class _Refused:
    """What stood there and was refused, and for how many rounds it is left alone; None for ever."""

    stamp: str
    rounds: int | None


class Watcher:
    """Looks for other bundles, in the worker that leads."""

    def __init__(self, registry: Registry, reloader: Reloader, readiness: Readiness, seconds: float) -> None:
        """Look at nothing yet.

        Args:
            registry: the models that are served.
            reloader: takes up what has changed, in all workers.
            readiness: knows which worker leads.
            seconds: from one look to the next.
        """
        self._registry = registry
        self._reloader = reloader
        self._readiness = readiness
        self._seconds = seconds
        self._seen: dict[Path, str] = {}
        self._refused: dict[Path, _Refused] = {}
        self._silent: set[Path] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on, for as long as the event loop runs."""
        for folder in self._folders():
            if url_of(folder) is None:
                self._seen[folder] = _stamp(folder)
        self._task = asyncio.get_running_loop().create_task(self._run())

    def _folders(self) -> list[Path]:
        return list(dict.fromkeys(model.folder for model in self._registry.models))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            if self._readiness.leads():
                for folder in self._folders():
                    try:
                        outcome = await self._look(folder)
                    except Exception:
                        logger.exception("looking for another bundle failed")
                        outcome = "failed"
                    self._count(folder, outcome)

    def _models(self, folder: Path) -> list[RegisteredModel]:
        return [model for model in self._registry.models if model.folder == folder]

    def _count(self, folder: Path, outcome: str) -> None:
        metrics = self._registry.executor.metrics
        if metrics is not None:
            for model in self._models(folder):
                metrics.watched(model.name, outcome)

    async def _look(self, folder: Path) -> str:
        """Look at one place: `same`, `changed`, `refused` or `unreachable`."""
        url = url_of(folder)
        shown = str(folder) if url is None else without_secrets(url)
        try:
            if url is not None:
                stamp, seen = await in_thread(identity_at, url), folder.resolve().name
            else:
                stamp, seen = await in_thread(_stamp, folder), self._seen.get(folder, "")
                if stamp != seen:
                    await asyncio.sleep(_SETTLING_SECONDS)
                    if stamp != await in_thread(_stamp, folder):
                        return "same"  # by the next round it may be whole
        except (UnreachableError, OSError) as error:
            return self._not_reached(folder, getattr(error, "message", f"{shown} cannot be read: {error}"))
        except PinnaceError as error:
            return self._refuse(folder, f"{type(error).__name__}: {error.message}", shown, error)
        if folder in self._silent:
            self._silent.discard(folder)
            logger.warning("%s can be reached again", shown)
        if stamp == seen:
            self._refused.pop(folder, None)
            return "same"
        if self._is_left_alone(folder, stamp):
            return "refused"
        return await self._take_up(folder, stamp, shown)

    async def _take_up(self, folder: Path, stamp: str, shown: str) -> str:
        outcome = "same"
        for model in self._models(folder):
            try:
                done = await self._reloader.reload_in_all_workers(model.name)
            except ReloadFailed as error:
                if isinstance(error.__cause__, UnreachableError):
                    return self._not_reached(folder, error.message)
                return self._refuse(folder, stamp, shown, error)
            if done.version != done.previous:
                outcome = "changed"
                logger.warning("%s was taken up from %s: version %s answers", model.name, shown, done.version)
        self._refused.pop(folder, None)
        self._seen[folder] = stamp
        return outcome

    def _is_left_alone(self, folder: Path, stamp: str) -> bool:
        refused = self._refused.get(folder)
        if refused is None or refused.stamp != stamp:
            return False
        if refused.rounds is None:
            return True
        refused.rounds -= 1
        return refused.rounds > 0

    def _refuse(self, folder: Path, stamp: str, shown: str, error: PinnaceError) -> str:
        before = self._refused.get(folder)
        if before is None or before.stamp != stamp:
            logger.error("what is at %s now is refused: %s", shown, error)
        here = stamp.isalnum() and (cache_folder() / BUNDLES / stamp).is_dir()
        whole = url_of(folder) is None or here
        self._refused[folder] = _Refused(stamp, None if whole else _ROUNDS_OF_PATIENCE)
        return "refused"

    def _not_reached(self, folder: Path, message: str) -> str:
        if folder not in self._silent:
            self._silent.add(folder)
            logger.warning("%s; what was there before answers on", message)
        return "unreachable"


def _stamp(folder: Path) -> str:
    """What stands in a folder, by the names, sizes and times of its files.

    Raises:
        OSError: it is not there, or a file goes away meanwhile.
    """
    digest = hashlib.sha256()
    for where, folders, files in os.walk(folder, onerror=_raise):
        folders.sort()
        for name in sorted(files):
            about = (Path(where) / name).stat()
            digest.update(f"{where}/{name}\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _raise(error: OSError) -> None:
    raise error
