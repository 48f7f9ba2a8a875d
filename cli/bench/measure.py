"""Measures what `pinnace bench` was given: a bundle here, a bundle on a device, a server, or a suite."""

from __future__ import annotations

import sys
from dataclasses import replace

from pinnace.cli.bench.options import BenchOptions
from pinnace.cli.bench.suite import measure_suite
from pinnace.cli.bench.table import progress_of
from pinnace.cli.console import print_note
from pinnace.latency import openers, run
from pinnace.latency.cold import starts
from pinnace.latency.remote import bench as remote
from pinnace.latency.remote.ssh import Address, Ssh
from pinnace.latency.report import LatencyReport
from pinnace.latency.scenarios import parse
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.selection import select


def measure(options: BenchOptions, progress: bool | None) -> LatencyReport:
    """Run the bench.

    Args:
        options: what was asked for.
        progress: whether to show how far it is; None means on a terminal only.

    Raises:
        PinnaceError: the options are wrong, or nothing could be measured.
        KeyboardInterrupt: it was interrupted before there was anything to report.
    """
    options.check()
    if options.suite is not None:
        return measure_suite(options, options.suite, progress)
    assert options.target is not None
    if options.device is not None:
        return _measure_on_device(options, options.device, options.target, progress)
    settings = options.settings()
    bundle = None
    if options.is_server:
        opened = openers.server_openers(options.target, options.api_key)
    else:
        bundle = Bundle.open(options.target)
        chosen = select(
            bundle,
            options.variant,
            options.runtime,
            use_profile=not options.no_profile and options.provider is None,
        )
        if chosen.note is not None:
            print_note(chosen.note)
        how = options.runtime_options()
        how = how if chosen.device is None else replace(how, device=chosen.device)
        opened = openers.bundle_openers(bundle, chosen.variant, chosen.runtime, how, settings)
    with progress_of(progress, len(opened), settings) as step:
        if bundle is None or not settings.cold:
            return run.bench(opened, settings, step)
        # First, while no runtime of this process keeps its libraries in memory.
        pairs = openers.pairs_of(bundle, chosen.variant, chosen.runtime, how.device)
        batches = [
            openers.batch_of(bundle, each, settings.batch) for each in parse(",".join(settings.scenarios))
        ]
        cold, failures = starts.measure(bundle, pairs, how, batches, step)
        report = run.bench(opened, settings, step, cold=cold)
        return replace(report, failures=(*failures, *report.failures))


def _measure_on_device(
    options: BenchOptions, device: str, folder: str, progress: bool | None
) -> LatencyReport:
    job = remote.Job(
        bundle=Bundle.open(folder),
        variant=options.variant,
        runtime=options.runtime,
        end_to_end=options.end_to_end,
        arguments=(
            *remote.arguments(options.settings(), options.variant, options.runtime),
            *(("--no-profile",) if options.no_profile else ()),
        ),
        python=options.device_python,
    )
    return remote.bench(
        Ssh(Address.parse(device)),
        job,
        print_note,
        progress=sys.stderr.isatty() if progress is None else progress,
    )
