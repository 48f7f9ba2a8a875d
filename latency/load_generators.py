"""Load generators: MLPerf's LoadGen where it is installed, else the same scenarios built in."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pinnace.latency.result_parts import Samples
from pinnace.latency.scenarios import OFFLINE, SERVER, Plan
from pinnace.latency.system_under_test import SystemUnderTest

# Of MLPerf inference 6.0, from the mlperf.conf that LoadGen 6.0 brings.
MLPERF_SEEDS = (2085463073848966840, 2747215439041700203, 16159082839903944936)

# A thread that sleeps wakes up late; the rest is waited for awake.
_AWAKE_S = 0.001


class LoadGenerator(Protocol):
    """Sends queries to a system under test.

    Attributes:
        name: what a report calls it.
    """

    name: str

    def run(self, plan: Plan, system: SystemUnderTest) -> Samples:
        """Send queries as the plan says, and wait for every answer."""


def load_generator() -> LoadGenerator:
    """MLPerf's LoadGen, or the built-in one where its package is not installed."""
    return LoadGen() if importlib.util.find_spec("mlperf_loadgen") is not None else BuiltinLoadGenerator()


class LoadGen:
    """MLPerf's LoadGen; the latencies are those of its own trace."""

    def __init__(self) -> None:
        self.name = f"mlcommons-loadgen {importlib.metadata.version('mlcommons-loadgen')}"

    def run(self, plan: Plan, system: SystemUnderTest) -> Samples:
        """Run one test of LoadGen."""
        import mlperf_loadgen as lg

        def done(names: Any) -> None:
            lg.QuerySamplesComplete([lg.QuerySampleResponse(name, 0, 0) for name in names])

        def issue(samples: Any) -> None:
            try:
                system.issue([(sample.id, sample.index) for sample in samples], done)
            except BaseException as error:  # nothing may be raised into LoadGen
                system.failure = error
                done([sample.id for sample in samples])

        nothing = lambda *_: None  # noqa: E731
        with tempfile.TemporaryDirectory(prefix="pinnace-bench-") as folder:
            output = lg.LogOutputSettings()
            output.outdir = folder
            log = lg.LogSettings()
            log.log_output = output
            log.enable_trace = True
            under_test = lg.ConstructSUT(issue, nothing)
            library = lg.ConstructQSL(plan.library, plan.library, nothing, nothing)
            try:
                with _interruptible(system):
                    lg.StartTestWithLogSettings(under_test, library, _settings(lg, plan), log, "")
            finally:
                lg.DestroyQSL(library)
                lg.DestroySUT(under_test)
            return _read_trace(Path(folder, "mlperf_log_trace.json"))


@contextmanager
def _interruptible(system: SystemUnderTest) -> Iterator[None]:
    """Have Ctrl-C end the load as a failure does; an exception raised through LoadGen crashes it.

    A second one ends the process at once.
    """

    def interrupt(number: int, frame: object) -> None:
        system.failure = KeyboardInterrupt()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _settings(lg: Any, plan: Plan) -> Any:
    settings = lg.TestSettings()
    settings.scenario = getattr(lg.TestScenario, plan.scenario.mlperf)
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = max(1, round(1000 * plan.seconds))
    settings.min_query_count = plan.min_queries
    # LoadGen makes twice the queries that this promises, and stops when time and count are reached.
    expected = max(1000, int(0.25e9 * plan.expected_s))
    settings.single_stream_expected_latency_ns = expected
    settings.multi_stream_expected_latency_ns = expected
    settings.multi_stream_samples_per_query = plan.scenario.samples
    settings.server_target_qps = plan.rate
    settings.server_target_latency_ns = 10**9
    if plan.scenario is OFFLINE:
        # LoadGen asks for a tenth more than what the duration needs at this rate.
        settings.offline_expected_qps = plan.samples / (1.1 * plan.seconds)
        settings.min_query_count = 1
    seeds = MLPERF_SEEDS if plan.mlperf else (plan.seed, plan.seed + 1, plan.seed + 2)
    settings.qsl_rng_seed, settings.sample_index_rng_seed, settings.schedule_rng_seed = seeds
    return settings


def _read_trace(path: Path) -> Samples:
    """When each query was due and how long it took; of a query of several samples, the slowest counts."""
    due: dict[int, float] = {}
    taken: dict[int, float] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith('{"name":"Sample"') and '"ph":"b"' in line:
                event = json.loads(line.rstrip().rstrip(","))
                query, latency = event["args"]["query_seq"], event["args"]["complete_ns"] / 1e6
                due[query] = event["ts"] / 1e6
                taken[query] = max(latency, taken.get(query, 0.0))
    first = min(due.values(), default=0.0)
    order = sorted(due, key=due.__getitem__)
    return Samples(
        tuple(round(due[query] - first, 6) for query in order),
        tuple(round(taken[query], 6) for query in order),
    )


class BuiltinLoadGenerator:
    """The same scenarios without LoadGen."""

    name = "pinnace"

    def run(self, plan: Plan, system: SystemUnderTest) -> Samples:
        """Send queries one after the other, at the times of a Poisson process, or all at once."""
        random = np.random.default_rng(plan.seed)
        if plan.scenario is SERVER:
            return self._arrivals(plan, system, random)
        starts, taken = [], []
        per_query = plan.samples if plan.scenario is OFFLINE else plan.scenario.samples
        began = time.perf_counter()
        while True:
            samples = [(name, int(random.integers(plan.library))) for name in range(per_query)]
            started = time.perf_counter()
            _send(system, samples)
            ended = time.perf_counter()
            starts.append(round(started - began, 6))
            taken.append(round(1000 * (ended - started), 6))
            if plan.scenario is OFFLINE or system.failure is not None:
                break
            if len(taken) >= plan.min_queries and ended - began >= plan.seconds:
                break
        return Samples(tuple(starts), tuple(taken))

    def _arrivals(self, plan: Plan, system: SystemUnderTest, random: np.random.Generator) -> Samples:
        due = [0.0]
        while due[-1] < plan.seconds or len(due) < plan.min_queries:
            due.append(due[-1] + float(random.exponential(1 / plan.rate)))
        ended = [0.0] * len(due)

        def done(names: Any) -> None:
            ended[names[0]] = time.perf_counter()

        began = time.perf_counter() + 0.01
        for name, when in enumerate(due):
            while (left := began + when - time.perf_counter()) > 0:
                if left > _AWAKE_S:
                    time.sleep(left - _AWAKE_S)
            system.issue([(name, int(random.integers(plan.library)))], done)
        while not all(ended):
            time.sleep(_AWAKE_S)
        latencies = (1000 * (end - began - when) for end, when in zip(ended, due, strict=True))
        return Samples(tuple(round(when, 6) for when in due), tuple(round(each, 6) for each in latencies))


def _send(system: SystemUnderTest, samples: list[tuple[int, int]]) -> None:
    """Send one query and wait for its last sample."""
    left = len(samples)
    lock, complete = threading.Lock(), threading.Event()

    def done(names: Any) -> None:
        nonlocal left
        with lock:
            left -= len(names)
        if left == 0:
            complete.set()

    system.issue(samples, done)
    complete.wait()
