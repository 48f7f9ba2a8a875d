"""The finalists on a real server, at the rates of an open loop, within the bound of p99."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pinnace.latency.load_generators import load_generator
from pinnace.latency.measure import measure_highest_rate
from pinnace.latency.result_parts import RatePoint
from pinnace.latency.scenarios import SERVER
from pinnace.latency.settings import BenchSettings
from pinnace.latency.subjects.http import HttpSubject
from pinnace.latency.tuning.race import RaceResult
from pinnace.models.errors import PinnaceError
from pinnace.models.profile import Configuration
from pinnace.models.progress import Progress

_MOST = 3
_CLOSE = 0.85
_DURATION_S = 3.0

# Serves a configuration, and gives the URL.
Serve = Callable[[Configuration], AbstractContextManager[str]]


@dataclass(frozen=True)
class Confirmation:
    """What a server of a finalist reached.

    Attributes:
        configuration: which.
        images_per_second: at the highest rate within the bound; 0 where there is none.
        p99_ms: at that rate; infinite where there is none.
        rates: all that were tried.
        problem: why there is no such rate, or None.
    """

    configuration: Configuration
    images_per_second: float
    p99_ms: float
    rates: tuple[RatePoint, ...] = ()
    problem: str | None = None


def finalists(result: RaceResult) -> list[Configuration]:
    """Whom to confirm, three at most: those who were not beaten, then those who came close.

    A server does more than the pipeline does, and the best of both need not be the same.
    """
    close = [
        runner
        for runner in result.runners
        if runner.reason is None
        or (runner.within_bound and runner.ratio is not None and runner.ratio >= _CLOSE)
    ]
    return [runner.configuration for runner in close[:_MOST]]


def confirm(
    configurations: Sequence[Configuration], serve: Serve, max_p99_ms: float, seed: int, progress: Progress
) -> list[Confirmation]:
    """Serve each, and find the highest rate that it keeps the bound at.

    Poisson arrivals, and latency counts from the moment a query was due.

    Args:
        configurations: what `finalists` gives.
        serve: starts a server.
        max_p99_ms: the bound.
        seed: of the arrivals.
        progress: told before each rate.
    """
    return [_confirmed(each, serve, max_p99_ms, seed, progress) for each in configurations]


def _confirmed(
    configuration: Configuration, serve: Serve, max_p99_ms: float, seed: int, progress: Progress
) -> Confirmation:
    try:
        with serve(configuration) as url:
            settings = BenchSettings(
                target=url,
                scenarios=(SERVER.name,),
                duration_s=_DURATION_S,
                min_queries=100,
                seed=seed,
                max_p99_ms=max_p99_ms,
            )
            subject = HttpSubject(url)
            try:
                result = measure_highest_rate(load_generator(), subject, settings, progress)
            finally:
                subject.close()
    except PinnaceError as error:
        detail = f": {error.got}" if error.got else ""
        return Confirmation(configuration, 0.0, float("inf"), problem=error.message + detail)
    valid = [point for point in result.rates if point.valid]
    if not valid:
        problem = f"at every rate, the 99th percentile of its server was above {max_p99_ms:g} ms"
        return Confirmation(configuration, 0.0, float("inf"), result.rates, problem)
    best = max(valid, key=lambda point: point.achieved)
    return Confirmation(configuration, best.achieved, best.p99_ms, result.rates)
