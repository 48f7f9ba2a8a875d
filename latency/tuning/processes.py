"""Measures configurations with real processes, which run the pipeline at the same time."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil  # type: ignore[import-untyped]
from typing_extensions import Self

from pinnace.latency.device.energy import EnergyMeter, total
from pinnace.latency.tuning.trial import Trial
from pinnace.models.errors import CheckFailed, PinnaceError, from_dict
from pinnace.models.profile import Configuration

_CLOSE_S = 5
# Below this share, what is open is freed before more is opened.
_MEMORY_KEPT = 0.25


class Worker:
    """A child process that runs `pinnace.latency.tuning.worker`."""

    def __init__(self, images: Sequence[Path], log: int) -> None:
        """Start it; what its runtimes print goes to the file with this descriptor.

        It leads a session of its own: Ctrl-C on the terminal ends the race, and the race ends its processes.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pinnace.latency.tuning.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        self.opened: set[str] = set()
        self.ask("begin", images=[str(image) for image in images])

    def send(self, verb: str, **values: object) -> None:
        """Tell it what to do.

        Raises:
            CheckFailed: it has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": verb, **values}) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None

    def receive(self) -> Any:
        """Wait for its answer.

        Raises:
            PinnaceError: what went wrong there, or it has ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer = json.loads(line)
        if "error" in answer:
            raise from_dict(answer["error"])
        return answer["ok"]

    def ask(self, verb: str, **values: object) -> Any:
        """Tell it what to do, and wait for its answer."""
        self.send(verb, **values)
        return self.receive()

    def _ended(self) -> CheckFailed:
        status = self._process.wait()
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return CheckFailed(f"the process that ran it ended with {how}")

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class ProcessMeasurer:
    """Runs configurations in child processes; one of several processes runs in as many at the same time.

    A process keeps what it has opened until it is released, so a round does not load files again. Where
    memory runs short, what was used longest ago is freed, and opened again when its turn comes.
    """

    def __init__(self, bundle: Path, images: Sequence[Path], meter: EnergyMeter | None = None) -> None:
        """Measure a bundle with these images; processes are started as they are needed."""
        self._bundle, self._images, self._meter = bundle, images, meter
        self._workers: list[Worker] = []
        # Who runs with what is open, the one that was used longest ago first.
        self._users: dict[str, set[Configuration]] = {}

    def measure(self, configuration: Configuration, turn: int, seconds: float) -> Trial:
        """Let one work in all its processes for about so many seconds.

        Raises:
            PinnaceError: it cannot be opened or run.
        """
        key = _key(configuration)
        self._users[key] = self._users.pop(key, set()) | {configuration}
        try:
            workers = self._with(configuration.processes)
            self._open(configuration, [each for each in workers if key not in each.opened])
            if self._meter is not None:
                self._meter.start()
            try:
                for place, each in enumerate(workers):
                    each.send("run", key=key, seconds=seconds, first=place)
                answers = _answers(workers)
            finally:
                joules = total(self._meter.stop()) if self._meter is not None else None
        except BaseException as error:
            # Answers may be left in the pipes of the others.
            if not isinstance(error, PinnaceError) or not all(each.alive for each in self._workers):
                self.close()
            raise
        calls = tuple(ms for answer in answers for ms in answer["calls_ms"])
        rate = sum(len(answer["calls_ms"]) / answer["seconds"] for answer in answers)
        return Trial(turn, len(calls) / rate, len(calls) * configuration.batch, calls, joules)

    def _open(self, configuration: Configuration, workers: Sequence[Worker]) -> None:
        """Open one in several processes at the same time."""
        if not workers:
            return
        key = _key(configuration)
        for other in [each for each in self._users if each != key]:
            if memory_left() > _MEMORY_KEPT:
                break
            self._close(other)
        for each in workers:
            each.send(
                "open",
                key=key,
                bundle=str(self._bundle),
                variant=configuration.variant,
                runtime=configuration.runtime,
                threads=configuration.threads,
                batch=configuration.batch,
                device=configuration.device,
            )
        _answers(workers)
        for each in workers:
            each.opened.add(key)

    def _with(self, count: int) -> list[Worker]:
        self._workers = [each for each in self._workers if each.alive]
        while len(self._workers) < count:
            self._workers.append(Worker(self._images, subprocess.DEVNULL))
        return self._workers[:count]

    def release(self, configuration: Configuration) -> None:
        """Free a configuration, unless another runs with the same."""
        key = _key(configuration)
        users = self._users.get(key, set())
        users.discard(configuration)
        if not users:
            self._close(key)

    def _close(self, key: str) -> None:
        self._users.pop(key, None)
        for each in self._workers:
            if key in each.opened and each.alive:
                each.opened.discard(key)
                with contextlib.suppress(PinnaceError):  # it has just ended
                    each.ask("close", key=key)

    def close(self) -> None:
        """End the processes."""
        workers, self._workers = self._workers, []
        self._users.clear()
        for each in workers:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _key(configuration: Configuration) -> str:
    """What a process opens: the same for one process as for several."""
    return str(replace(configuration, processes=1))


def _answers(workers: Sequence[Worker]) -> list[Any]:
    """The answers of all, so that none is left in a pipe.

    Raises:
        PinnaceError: the first that went wrong.
    """
    answers: list[Any] = []
    problem: PinnaceError | None = None
    for each in workers:
        try:
            answers.append(each.receive())
        except PinnaceError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return answers


def memory_left(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """The share of the memory, of the machine or of the container, that is not used."""
    memory = psutil.virtual_memory()
    left = float(memory.available / memory.total)
    try:
        most, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
        parts = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no container, or one without a limit
        return left
    return min(left, 1 - (used - int(parts.get("inactive_file", 0))) / most)
