"""One bench: opens the subjects, samples the machine, and makes the report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import version

from pinnace.latency import caveats
from pinnace.latency.cold.starts import Cold
from pinnace.latency.device.describe import describe
from pinnace.latency.device.energy import open_meter
from pinnace.latency.device.monitor import DeviceMonitor
from pinnace.latency.device.nvidia import Nvml, open_nvml
from pinnace.latency.device.power import unreadable
from pinnace.latency.device.sysfs import Sysfs
from pinnace.latency.device.types import DeviceInfo
from pinnace.latency.load_generators import LoadGenerator, load_generator
from pinnace.latency.measure import call_size, measure_highest_rate, measure_interleaved
from pinnace.latency.metered_load import MeteredLoad
from pinnace.latency.openers import Opener
from pinnace.latency.report import SCHEMA_VERSION, LatencyReport
from pinnace.latency.result import Failure, Result
from pinnace.latency.result_parts import Caveat, EnergyUse, State
from pinnace.latency.scenarios import SERVER, Scenario, parse
from pinnace.latency.settings import BenchSettings
from pinnace.latency.soak import caveats_of as lasting
from pinnace.latency.soak import soak_of
from pinnace.latency.subjects.base import Subject
from pinnace.models.errors import PinnaceError
from pinnace.models.progress import Progress


def bench(
    openers: Sequence[Opener],
    settings: BenchSettings,
    progress: Progress,
    *,
    sysfs: Sysfs | None = None,
    cold: Sequence[Cold] = (),
) -> LatencyReport:
    """Time everything under every scenario.

    Args:
        openers: each opens one subject for a scenario; the first one that opens is the baseline.
        settings: what was asked for.
        progress: called before each round, with the seconds that it will take.
        sysfs: the machine's files; None means those of the running system.
        cold: what cold starts of these rows gave.

    Raises:
        PinnaceError: none of the subjects can be opened and run (the error of the first).
    """
    created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    nvml = open_nvml()
    meter = open_meter(sysfs, nvml)
    load = load_generator() if meter is None else MeteredLoad(load_generator(), meter)
    info = describe(sysfs, nvml)
    run = _Run(load, info, settings, progress, sysfs, nvml, list(cold))
    try:
        for scenario in parse(",".join(settings.scenarios)):
            run.scenario(scenario, openers)
    finally:
        if nvml is not None:
            nvml.close()
    if not run.results:
        raise run.problems[0]
    warnings = [*caveats.of_device(info), *run.warnings]
    if (problem := unreadable(sysfs or Sysfs())) is not None:
        warnings.append(Caveat("energy", problem))
    if not load.name.startswith("mlcommons"):
        warnings.append(
            Caveat(
                "loadgen", "mlcommons-loadgen is not installed, so Pinnace's built-in load generator was used"
            )
        )
    return LatencyReport(
        SCHEMA_VERSION,
        created,
        version("pinnace"),
        info,
        settings,
        tuple(run.results),
        tuple(dict.fromkeys(warnings)),
        tuple(run.failures),
    )


Key = tuple[str, str, int | None, int]


def _key(variant: str, runtime: str, threads: int | None, batch: int) -> Key:
    """What tells the rows of a scenario apart."""
    return variant, runtime, threads, batch


class _Run:
    """What one bench has come to."""

    def __init__(
        self,
        load: LoadGenerator,
        info: DeviceInfo,
        settings: BenchSettings,
        progress: Progress,
        sysfs: Sysfs | None,
        nvml: Nvml | None,
        cold: list[Cold],
    ) -> None:
        self._load, self._info, self._settings, self._progress = load, info, settings, progress
        self._sysfs, self._nvml, self._cold = sysfs, nvml, cold
        self.results: list[Result] = []
        self.failures: list[Failure] = []
        self.problems: list[PinnaceError] = []
        self.warnings: list[Caveat] = []

    def scenario(self, scenario: Scenario, openers: Sequence[Opener]) -> None:
        """Time every row under one scenario; a row that fails is noted, and the others go on."""
        with ExitStack() as stack:
            subjects = self._open(openers, scenario, stack)
            if not subjects:
                return
            alone = scenario is SERVER or self._settings.soak_s is not None
            groups = [[subject] for subject in subjects] if alone else [subjects]
            for group in groups:
                monitor = DeviceMonitor(self._sysfs, self._nvml)
                monitor.start()
                try:
                    rows = self._measure(scenario, group)
                finally:
                    samples = monitor.stop()
                # From the first query on, which is when the last row was warm.
                warm = sum(row.warm_up.seconds for row in rows if row.warm_up is not None)
                samples = tuple(
                    replace(sample, seconds=round(sample.seconds - warm, 3)) for sample in samples
                )
                state = State(samples[0], samples[1:-1], samples[-1]) if len(samples) > 1 else State()
                energy = self._energy(scenario, group)
                for row in rows:
                    about = caveats.of_result(self._info, row, self._settings.provider)
                    during = caveats.of_timeline(self._info, samples)
                    done = replace(
                        row,
                        state=state,
                        energy=energy.get(_key(row.variant, row.runtime, row.threads, row.batch), ()),
                        warnings=(*row.warnings, *about, *during),
                    )
                    if self._settings.soak_s is not None:
                        soak = soak_of(done, samples)
                        more = (*done.warnings, *lasting(soak))
                        done = replace(done, soak=soak, warnings=more)
                    self.results.append(self._with_cold(done))

    def _open(self, openers: Sequence[Opener], scenario: Scenario, stack: ExitStack) -> list[Subject]:
        subjects: list[Subject] = []
        for opener in openers:
            try:
                subject = opener.open(scenario)
            except PinnaceError as error:
                self.problems.append(error)
                if opener.optional:
                    self.warnings.append(Caveat("skipped", f"{opener.name}: {error.message}"))
                else:
                    self.failures.append(Failure(opener.name, scenario.name, error.message))
            else:
                stack.callback(subject.close)
                subjects.append(subject)
        return subjects

    def _measure(self, scenario: Scenario, group: Sequence[Subject]) -> list[Result]:
        """Time subjects in turns, or the one of the server scenario."""

        def fail(subject: Subject, error: PinnaceError) -> None:
            self.problems.append(error)
            name = f"{subject.info.variant} {subject.info.runtime}".strip()
            self.failures.append(Failure(name, scenario.name, error.message))

        if scenario is not SERVER:
            return measure_interleaved(
                self._load, scenario, group, self._settings, self._progress, on_failure=fail
            )
        (subject,) = group
        try:
            return [measure_highest_rate(self._load, subject, self._settings, self._progress)]
        except PinnaceError as error:
            fail(subject, error)
            return []

    def _energy(self, scenario: Scenario, group: Sequence[Subject]) -> dict[Key, tuple[EnergyUse, ...]]:
        """What each row has drawn; nothing of the server scenario, most of whose rates are not its row's."""
        if not isinstance(self._load, MeteredLoad):
            return {}
        found = {}
        for subject in group:
            info, size = subject.info, call_size(scenario, subject)
            used = self._load.used_by(subject)
            found[_key(info.variant, info.runtime, info.threads, size)] = () if scenario is SERVER else used
        return found

    def _with_cold(self, row: Result) -> Result:
        for each in self._cold:
            if (each.variant, each.runtime, each.batch) == (row.variant, row.runtime, row.batch):
                return replace(row, cold=each.start, memory=each.memory)
        return row
