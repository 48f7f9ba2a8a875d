"""One bench: opens the subjects, samples the machine, and makes the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import version

from pinnace.latency import caveats
from pinnace.latency.device.describe import describe
from pinnace.latency.device.monitor import DeviceMonitor
from pinnace.latency.device.nvidia import open_nvml
from pinnace.latency.load_generators import load_generator
from pinnace.latency.measure import measure_highest_rate, measure_interleaved
from pinnace.latency.report import SCHEMA_VERSION, LatencyReport
from pinnace.latency.result import Result
from pinnace.latency.result_parts import Caveat, State
from pinnace.latency.scenarios import MULTI_STREAM, OFFLINE, SERVER, Scenario, parse
from pinnace.latency.settings import BenchSettings
from pinnace.latency.subjects.base import Subject
from pinnace.latency.subjects.eager import EAGER, EagerTorch
from pinnace.latency.subjects.http import MOST_CONNECTIONS, OFFLINE_CONNECTIONS, HttpSubject
from pinnace.latency.subjects.runtime import RuntimeSubject
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.bundle.manifest import Variant
from pinnace.models.bundle.signature import BATCH
from pinnace.models.errors import MissingDependency, PinnaceError, UsageError
from pinnace.models.progress import Progress
from pinnace.models.runtimes import all_runtimes
from pinnace.models.runtimes.base import RuntimeOptions
from pinnace.models.selection import working_readers

ALL = "all"
OFFLINE_BATCH = 8

# Each opens one subject for a scenario. One that cannot be opened becomes a caveat.
Opener = Callable[[Scenario], Subject]


def bench(openers: Sequence[Opener], settings: BenchSettings, progress: Progress) -> LatencyReport:
    """Time everything under every scenario.

    Args:
        openers: each opens one subject for a scenario; the first one that opens is the baseline.
        settings: what was asked for.
        progress: called before each round, with the seconds that it will take.

    Raises:
        PinnaceError: none of the subjects can be opened (the error of the first), or one fails under load.
    """
    created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    load = load_generator()
    nvml = open_nvml()
    results: list[Result] = []
    warnings: list[Caveat] = []
    info = describe(nvml=nvml)
    warnings += caveats.of_device(info)
    try:
        for scenario in parse(",".join(settings.scenarios)):
            with ExitStack() as stack:
                subjects, skipped = _open(openers, scenario, stack)
                warnings += [caveat for caveat in skipped if caveat not in warnings]
                groups = [[subject] for subject in subjects] if scenario is SERVER else [subjects]
                for group in groups:
                    monitor = DeviceMonitor(nvml=nvml)
                    monitor.start()
                    try:
                        if scenario is SERVER:
                            rows = [measure_highest_rate(load, group[0], settings, progress)]
                        else:
                            rows = measure_interleaved(load, scenario, group, settings, progress)
                    finally:
                        samples = monitor.stop()
                    state = State(samples[0], samples[1:-1], samples[-1]) if len(samples) > 1 else State()
                    for row in rows:
                        about = caveats.of_result(info, row, settings.provider)
                        during = caveats.of_timeline(info, samples)
                        results.append(replace(row, state=state, warnings=(*row.warnings, *about, *during)))
    finally:
        if nvml is not None:
            nvml.close()
    if not load.name.startswith("mlcommons"):
        warnings.append(
            Caveat(
                "loadgen", "mlcommons-loadgen is not installed, so Pinnace's built-in load generator was used"
            )
        )
    return LatencyReport(
        SCHEMA_VERSION, created, version("pinnace"), info, settings, tuple(results), tuple(warnings)
    )


def _open(
    openers: Sequence[Opener], scenario: Scenario, stack: ExitStack
) -> tuple[list[Subject], list[Caveat]]:
    subjects: list[Subject] = []
    problems: list[PinnaceError] = []
    for opener in openers:
        try:
            subject = opener(scenario)
        except PinnaceError as error:
            problems.append(error)
        else:
            stack.callback(subject.close)
            subjects.append(subject)
    if not subjects:
        raise problems[0]
    return subjects, [Caveat("skipped", problem.message) for problem in problems]


def check_runtime(runtime: str | None) -> None:
    """Check a `--runtime`: a name, `all`, or None.

    Raises:
        UsageError: it is another word.
    """
    if runtime not in (None, ALL, *all_runtimes()):
        expected = "one of " + ", ".join((*all_runtimes(), ALL))
        raise UsageError(f"there is no runtime {runtime}", expected=expected)


def bundle_openers(
    bundle: Bundle, variant: str | None, runtime: str | None, options: RuntimeOptions, settings: BenchSettings
) -> list[Opener]:
    """What opens the rows of a bundle: the preferred one, or every pair that works here with `all`.

    Args:
        bundle: the bundle.
        variant: a name, `eager`, `all`, or None for the first that runs here.
        runtime: a name, `all`, or None for the preferred one.
        options: threads and device.
        settings: batch and what is timed.

    Raises:
        UsageError: the variant or the runtime is unknown.
        MissingDependency: none of them works here.
    """
    check_runtime(runtime)
    pairs: list[tuple[Variant | None, str | None]] = []
    variants: tuple[Variant, ...] = ()
    if variant in (None, ALL):
        variants = bundle.manifest.variants
    elif variant != EAGER:
        variants = (bundle.variant(variant),)
    for each in variants:
        named = None if runtime == ALL else runtime
        names = [reader.name for reader in working_readers(bundle, each, named, options.device)]
        # Without a name the rule chooses, which also takes the next where the first does not load the file.
        pairs += [(each, None)] if names and runtime is None else [(each, name) for name in names]
        if pairs and variant is None:
            break
    everything = (variant, runtime) == (ALL, ALL)
    if (variant == EAGER and runtime in (None, ALL)) or (everything and not EagerTorch.unavailable_reason()):
        pairs.append((None, EagerTorch.name))
    if not pairs:
        wanted = " in ".join(name for name in (variant or "any variant", runtime) if name)
        raise MissingDependency(
            f"nothing on this machine can run {wanted} of {bundle.name}", hint="pinnace doctor"
        )

    def opener(each: Variant | None, name: str | None) -> Opener:
        def open_it(scenario: Scenario) -> Subject:
            batch = _batch(bundle, scenario, settings.batch)
            subject = RuntimeSubject(bundle, each, name, options, batch=batch, end_to_end=settings.end_to_end)
            subject.prepare(batch)
            return subject

        return open_it

    return [opener(each, name) for each, name in pairs]


def server_openers(url: str, api_key: str | None) -> list[Opener]:
    """What opens the one row of a server."""

    def open_it(scenario: Scenario) -> Subject:
        most = {SERVER: MOST_CONNECTIONS, OFFLINE: OFFLINE_CONNECTIONS}.get(scenario, scenario.samples)
        return HttpSubject(url, api_key, at_once=most)

    return [open_it]


def _batch(bundle: Bundle, scenario: Scenario, requested: int) -> int:
    fixed = bundle.manifest.signature.batch
    if requested or fixed != BATCH:
        return requested or (fixed if isinstance(fixed, int) else 1)
    if scenario in (MULTI_STREAM, OFFLINE):
        return min(OFFLINE_BATCH, bundle.manifest.batch[1])
    return 1
